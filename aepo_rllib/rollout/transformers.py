"""`TransformersEngine`: a decode loop over any Hugging Face causal LM.

What makes it faster than `generate()` is work avoided: every distinct prompt is prefilled once and its cache
repeated per group, finished rows leave the batch, and log-probs and entropies are taken from the logits that
sampling needs anyway, so that no scoring pass follows.

Attention ignores what is padded; recurrent layers may not. Whether a model does is tried out, once, on its own weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import PreTrainedModel

from aepo_rllib.models.attention import avoid_cudnn_attention
from aepo_rllib.models.hf import ModelError, load_model, reason_of
from aepo_rllib.models.model_cache import cache_argument
from aepo_rllib.models.named_weights import copy_weights
from aepo_rllib.objectives.entropy import token_statistics
from aepo_rllib.rollout.engine import NO_FILTERS, Completion, Ended, Prompt, RolloutEngine, SamplingFilters
from aepo_rllib.rollout.wave import Row, Wave
from aepo_rllib.support.options import Option, count

TOKENS_IN_FLIGHT = 2**18
"""In 16 bits a cache of 15 GB for Qwen2.5-7B, of 7.5 GB for 1.5B, of 3.2 GB for 0.5B."""
MOST_PIECES = 4
"""Of one engine's share of a batch: so nobody waits longer than a quarter of it for the last one."""
SAMPLING_BOUND = {8: 0.01, 4: 0.01, 2: 0.5}
"""Largest mean difference of log-probs, by bytes of a weight, between sampling and scoring the same tokens.

Rounding stays far below; a lost or polluted state is off by whole nats.
"""


class TransformersEngine(RolloutEngine):
    """Samples with the model it is given, in this process.

    Args:
        model: A causal LM with a `DynamicCache`.
        max_tokens_in_flight: Most tokens of prompts and completions that are kept at a time: rows x (longest prompt +
            `max_new_tokens`). It bounds the memory of the cache, whose bytes a token takes are the model's. A single
            completion that needs more is sampled alone.

    Raises:
        aepo_rllib.models.hf.ModelError: sampled tokens would not have the log-probs that the model gives them.
    """

    OPTIONS: ClassVar[dict[str, Option]] = {"max_tokens_in_flight": count()}
    exact_entropy = True
    reproducible = True
    tells_ends = True

    def __init__(self, model: PreTrainedModel, *, max_tokens_in_flight: int = TOKENS_IN_FLIGHT) -> None:
        avoid_cudnn_attention()
        self.model = model.eval()
        self.max_tokens_in_flight = max_tokens_in_flight
        self._device = model.device
        self.context_length = getattr(model.config, "max_position_embeddings", None)
        try:
            self._cache_argument = cache_argument(model)
        except ValueError as error:
            raise ModelError(str(error)) from error
        self._check_sampling()

    @classmethod
    def from_pretrained(
        cls, model: str, *, dtype: str = "float32", device: str = "cpu", **options: Any
    ) -> TransformersEngine:
        """See `RolloutEngine.from_pretrained`; `options` are the constructor's."""
        return cls(load_model(model, dtype=dtype).to(device), **options)

    @classmethod
    def pieces(cls, rows: int, tokens: int, options: Mapping[str, Any]) -> int:
        """Two waves or more a piece, because its last one may be nearly empty and takes as long as any."""
        waves = rows * tokens // options.get("max_tokens_in_flight", TOKENS_IN_FLIGHT)
        return min(max(waves // 2, 1), MOST_PIECES)

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        stop_ids: Sequence[int],
        filters: SamplingFilters = NO_FILTERS,
        ended: Ended | None = None,
    ) -> list[list[Completion]]:
        """See `RolloutEngine.generate`."""
        self.check(prompts, max_new_tokens)
        completions: list[list[Completion]] = [[] for _ in prompts]
        for rows in self._waves(prompts, max_new_tokens):
            wave = Wave(self.model, self._cache_argument, prompts, rows, max_new_tokens, stop_ids, filters, ended)
            for row, completion in zip(rows, wave.run(), strict=True):
                completions[row.prompt].append(completion)
        return completions

    def _waves(self, prompts: Sequence[Prompt], max_new_tokens: int) -> Iterator[list[Row]]:
        """The completions that are sampled together: those of prompts of like lengths, as many as fit."""
        wave: list[Row] = []
        longest = 0
        for index in sorted(range(len(prompts)), key=lambda index: len(prompts[index].token_ids)):
            shorter, longest = longest, len(prompts[index].token_ids)
            most = self.max_tokens_in_flight // (longest + max_new_tokens)
            if wave and longest > shorter and not self._pads_prompts:
                yield wave
                wave = []
            for sample, key in enumerate(prompts[index].keys):
                if wave and len(wave) >= most:
                    yield wave
                    wave = []
                wave.append(Row(index, sample, key))
        if wave:
            yield wave

    def update_weights(self, weights: Mapping[str, torch.Tensor], *, version: int) -> None:
        """See `RolloutEngine.update_weights`."""
        self._check_awake()
        copy_weights(self.model, weights)
        self.weights_version = version

    @torch.inference_mode()
    def log_probs(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[np.ndarray]:
        """See `RolloutEngine.log_probs`. One row at a time: plain, and free of padding."""
        self._check_awake()
        result = []
        for prompt_ids, completion_ids in sequences:
            ids = torch.tensor([[*prompt_ids, *completion_ids]], device=self.model.device)
            logits = self.model(input_ids=ids[:, :-1]).logits[:, len(prompt_ids) - 1 :]
            result.append(token_statistics(logits, ids[:, len(prompt_ids) :], reads=()).logp[0].cpu().numpy())
        return result

    def _sleep(self) -> None:
        self.model.to("cpu")
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _wake(self) -> None:
        self.model.to(self._device)

    def _check_sampling(self) -> None:
        """Find out on a few tokens whether prompts of unequal length can be padded, and whether sampling works at all.

        Raises:
            ModelError: it does not.
        """
        bound = SAMPLING_BOUND[self.model.dtype.itemsize]
        for self._pads_prompts in (True, False):
            try:
                off = self._sampling_error()
                reason = f"sampled tokens would have log-probs that are off by {off:.2g} on average"
            except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
                off, reason = math.inf, f"{type(error).__name__}: {reason_of(error)}"
            if off <= bound:
                return
        raise ModelError(f"models of type {self.model.config.model_type!r} cannot be sampled from here: {reason}")

    def _sampling_error(self) -> float:
        """Mean difference between the log-probs of sampled tokens and `log_probs` of the same."""
        vocabulary = self.model.get_input_embeddings().weight.shape[0]
        prompts = [
            Prompt([(7 * place + 3) % vocabulary for place in range(length)], [(length, 0), (length, 1)])
            for length in (5, 2)
        ]
        groups = self.generate(prompts, max_new_tokens=3, stop_ids=[])
        pairs = [(prompt, completion) for prompt, group in zip(prompts, groups, strict=True) for completion in group]
        scored = self.log_probs([(prompt.token_ids, completion.token_ids.tolist()) for prompt, completion in pairs])
        sampled, exact = np.concatenate([completion.policy_logp for _, completion in pairs]), np.concatenate(scored)
        # Weights that are NaN are not the cache's fault.
        return float(np.where(np.isnan(exact), 0, np.abs(sampled - exact)).mean())
