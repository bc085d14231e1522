"""What every rollout engine offers, and the records that cross its border.

Nobody outside this folder asks which engine it is. Token ids go in, token ids and log-probs come out; text,
rewards and Ray stay outside.
"""

from __future__ import annotations

import abc
import enum
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from aepo_rllib.support.options import Option


class FinishReason(str, enum.Enum):
    """Why a completion ended. Only the engine knows; it is never inferred from token ids."""

    EOS = "eos"
    """One of the stop ids was sampled; it is the completion's last token."""
    LENGTH = "length"
    """`max_new_tokens` was reached: the completion is truncated."""


@dataclass(frozen=True)
class SamplingFilters:
    """Filters that cut the tail of the distribution, applied after the temperature, in this order.

    They change the law that tokens are drawn from, so that a log-prob under the policy no longer is one under
    the sampling law. The defaults switch all of them off.
    """

    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if self.top_k < 0 or not 0 < self.top_p <= 1 or not 0 <= self.min_p < 1:
            raise ValueError(f"need top_k >= 0, 0 < top_p <= 1 and 0 <= min_p < 1, got {self}")

    def __bool__(self) -> bool:
        """Whether any filter is on."""
        return bool(self.top_k or self.top_p < 1 or self.min_p > 0)


NO_FILTERS = SamplingFilters()
Sequences = list[tuple[list[int], list[int]]]
"""(prompt ids, completion ids) of completions whose log-probs are asked for."""


Ended = Callable[[int, int, np.ndarray, FinishReason], None]
"""Told of a completion when it has ended: its prompt's place, its place among the prompt's, token ids, and why."""


@dataclass(frozen=True)
class Prompt:
    """One prompt to complete `len(keys)` times.

    Attributes:
        token_ids: The whole prompt.
        keys: One key of integers per completion. It seeds the completion's own random generator, so that neither
            the batch it is sampled in nor its order matters.
        temperature: Logits are divided by it.
    """

    token_ids: Sequence[int]
    keys: Sequence[tuple[int, ...]]
    temperature: float = 1.0


@dataclass(frozen=True)
class Completion:
    """One sampled completion; all arrays are (tokens,), EOS included.

    Attributes:
        token_ids: int64.
        policy_logp: log pi(token) under the *policy*: T = 1, no filters. The ratio of the objective is taken
            against this.
        behavior_logp: log-prob under the law that the token was really drawn from (tempered, filtered), or None
            where the engine does not tell.
        entropy: Exact entropy of the policy at T = 1 in nats, or None where the engine sees no logits.
        logit_variance: Var_pi(z), or None likewise.
        tempering_gain: sum pi^2 (log pi + H)^2, see `objectives.entropy.tempering_gain`; None where it is not computed.
        finish_reason: Why it ended.
    """

    token_ids: np.ndarray
    policy_logp: np.ndarray
    finish_reason: FinishReason
    behavior_logp: np.ndarray | None = None
    entropy: np.ndarray | None = None
    logit_variance: np.ndarray | None = None
    tempering_gain: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.token_ids)


def check_prompt(prompt: Prompt, max_new_tokens: int, context_length: int | None) -> None:
    """Refuse a prompt that a model of this context cannot complete.

    Raises:
        ValueError: an empty one, one without a temperature above 0, or one that leaves no room for so many tokens.
    """
    if not prompt.token_ids:
        raise ValueError("cannot complete an empty prompt")
    if not prompt.temperature > 0:
        raise ValueError(f"temperature must be above 0, got {prompt.temperature}")
    needed = len(prompt.token_ids) + max_new_tokens
    if context_length is not None and needed > context_length:
        raise ValueError(
            f"a prompt of {len(prompt.token_ids)} tokens and max_new_tokens={max_new_tokens} need "
            f"{needed} tokens, but the model's context is {context_length}; lower max_new_tokens or "
            "leave out long problems"
        )


class RolloutEngine(abc.ABC):
    """Samples completions from a policy whose weights can be replaced.

    Class attributes say what an engine promises; the contract suite in the tests holds it to them.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {}
    """Ranges of the constructor's own options."""

    NEEDS: ClassVar[Mapping[str, str]] = {}
    """Packages that it cannot be built without, and how each is had."""

    exact_entropy: bool = False
    """Whether completions carry the exact entropy per token."""
    reproducible: bool = False
    """Whether equal keys give equal completions, whatever else is in the batch."""

    own_model: bool = False
    """Whether it computes with an implementation of the model other than the learner's."""

    tells_ends: bool = False
    """Whether `generate` takes `ended`, and tells it of each completion while others are still sampled."""

    one_per_process: bool = False
    """Whether a second engine in the same process has to wait until the first is closed."""

    context_length: int | None = None
    """Most tokens of prompt and completion together; None where the model sets no limit."""

    weights_version: int = 0
    """Version of the weights in use, as given to `update_weights`."""

    asleep: bool = False
    """Whether its memory is given back."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """One that samples by itself, and takes no `ended`, tells of no ends, whatever it is derived from."""
        super().__init_subclass__(**kwargs)
        if "generate" in cls.__dict__:
            parameters = inspect.signature(cls.generate).parameters.values()
            takes = any(each.name == "ended" or each.kind is each.VAR_KEYWORD for each in parameters)
            cls.tells_ends = cls.tells_ends and takes

    @classmethod
    @abc.abstractmethod
    def from_pretrained(
        cls, model: str, *, dtype: str = "float32", device: str = "cpu", **options: Any
    ) -> RolloutEngine:
        """An engine with the weights of a Hugging Face folder or id.

        Raises:
            aepo_rllib.models.hf.ModelError: the model cannot be read.
        """

    @classmethod
    def context_limit(cls, options: Mapping[str, Any]) -> int | None:
        """The most tokens of prompt and completion together that an engine with these options takes.

        Asked before anything is loaded; the model's own limit holds besides. None where the options set none.
        """
        return None

    @classmethod
    def pieces(cls, rows: int, tokens: int, options: Mapping[str, Any]) -> int:
        """Into how many requests completions may be cut at no loss, asked before anything is loaded.

        Where several engines share a batch, the next piece goes to the one that is free first, and each is graded as it
        comes. One that batches continuously wants all at once, and so does any that has room for them: 1.

        Args:
            rows: Completions that this engine is to sample.
            tokens: Longest completion.
            options: Of the constructor.
        """
        return 1

    @abc.abstractmethod
    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        stop_ids: Sequence[int],
        filters: SamplingFilters = NO_FILTERS,
        ended: Ended | None = None,
    ) -> list[list[Completion]]:
        """Sample `len(prompt.keys)` completions for every prompt, in order.

        Args:
            prompts: What to complete, each at its own temperature.
            max_new_tokens: Longest completion in tokens, EOS included.
            stop_ids: Token ids that end a completion.
            filters: Filters of the sampling law.
            ended: Told of every completion once, as soon as it is known that it has ended; given to no engine that does
                not say `tells_ends`. What it raises ends the call.

        Raises:
            ValueError: an empty prompt, a temperature that is not above 0, or prompt plus completion longer than
                the model's context.
        """

    def check(self, prompts: Sequence[Prompt], max_new_tokens: int) -> None:
        """Refuse what `generate` could not complete; costs nothing.

        Raises:
            RuntimeError: the engine is asleep.
            ValueError: as `generate`.
        """
        self._check_awake()
        for prompt in prompts:
            check_prompt(prompt, max_new_tokens, self.context_length)

    @abc.abstractmethod
    def update_weights(self, weights: Mapping[str, torch.Tensor], *, version: int) -> None:
        """Replace the weights. The next `generate` is from the new ones.

        Args:
            weights: All of them, named as in the Hugging Face model's state dict; tied ones come once. They may be on
                their way: go through `items()` once, and each tensor is there for as long as it is its turn.
            version: Number that `weights_version` shows from now on.
        """

    @abc.abstractmethod
    def log_probs(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[np.ndarray]:
        """log pi of given completions: for each (prompt ids, completion ids) an array (completion tokens,).

        The proof that an engine samples from the weights it was given.
        """

    def sleep(self) -> None:
        """Give the device's memory to whoever shares it, and keep the weights. All else needs `wake` first."""
        if not self.asleep:
            self._sleep()
            self.asleep = True

    def wake(self) -> None:
        """Undo `sleep`."""
        if self.asleep:
            self._wake()
            self.asleep = False

    def _sleep(self) -> None:
        """What `sleep` does, once."""

    def _wake(self) -> None:
        """What `wake` does, once."""

    def _check_awake(self) -> None:
        if self.asleep:
            raise RuntimeError(f"this {type(self).__name__} is asleep; wake it first")

    def close(self) -> None:
        """Release everything."""
