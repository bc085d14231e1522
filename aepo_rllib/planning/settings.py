"""`Settings`: the options of a run that decide how much memory it takes."""

from __future__ import annotations

import inspect
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from aepo_rllib.models.hf import DTYPES
from aepo_rllib.models.lora import Lora
from aepo_rllib.objectives.parts import MAIN
from aepo_rllib.planning.fake_pass import Work
from aepo_rllib.planning.shape import ModelShape
from aepo_rllib.rollout import engine_class
from aepo_rllib.training.config import TextRLConfig

DEFAULT_PROMPT_TOKENS = 200


@dataclass(frozen=True)
class Settings:
    """Options by their own names, and what a method adds to them.

    Attributes:
        prompt_tokens: Of the longest prompt.
        lora: Adapters that learn in place of the weights.
        checkpoints: Most that are on disk at a time.
        streams: Shares of a batch's prompts that are sampled, by stream.
        trained_streams: Those whose completions are learned from.
        entropy, reference: Whether a loss reads the entropy, and whether a second model scores with the first weights.
        local_evaluation: Whether the algorithm's own process holds an engine for evaluation, beside remote runners.
    """

    dtype: str = "float32"
    max_new_tokens: int = 64
    batch_size: int = 16
    group_size: int = 8
    updates_per_batch: int = 2
    share_prompts: bool = True
    rows_per_backward: int | None = None
    tokens_per_backward: int | None = None
    checkpoint_activations: bool | None = None
    attn_implementation: str | None = None
    learner_sharding: str = "none"
    num_learners: int = 0
    num_gpus_per_learner: float = 0
    num_env_runners: int = 0
    num_gpus_per_env_runner: float = 0
    evaluation_num_env_runners: int = 0
    engine: str = "transformers"
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    sleep_while_learning: bool = False
    prompt_tokens: int = DEFAULT_PROMPT_TOKENS
    lora: Lora | None = None
    checkpoints: int = 3
    export_checkpoints: bool = True
    streams: Mapping[str, float] = field(default_factory=lambda: {MAIN: 1.0})
    trained_streams: frozenset[str] = frozenset({MAIN})
    entropy: bool = False
    reference: bool = False
    local_evaluation: bool = False

    @classmethod
    def of(cls, config: TextRLConfig, **known: Any) -> Settings:
        """Those of a config; `known` are what it does not say."""
        method = config.method()
        taken = {each.name: getattr(config, each.name) for each in fields(cls) if each.name in vars(config)}
        lora = config.lora()
        derived = {
            "lora": lora and lora._replace(targets=_hashable(lora.targets)),
            "evaluation_num_env_runners": config.evaluation_num_env_runners or 0,
            "streams": {name: stream.share for name, stream in method.streams.items()},
            "trained_streams": frozenset(term.stream for term in method.terms.values()),
            "entropy": bool({"entropy", "core_entropy"} & method.reads),
            "reference": any("ref_logp" in term.scored_reads for term in method.terms.values()),
            "local_evaluation": bool(config.evaluation_interval) and not config.evaluation_num_env_runners,
        }
        return cls(**taken | derived | known)

    @property
    def learners(self) -> int:
        """How many there are, one in the algorithm's own process included."""
        return max(self.num_learners, 1)

    @property
    def sharded(self) -> bool:
        """Whether learners share one set of weights."""
        return self.learner_sharding == "fsdp" and self.num_learners > 1

    @property
    def itemsize(self) -> int:
        """Bytes of a number that forward passes compute with."""
        return DTYPES[self.dtype].itemsize

    @property
    def wide(self) -> int:
        """Bytes of a number that the optimizer adds to: float32 in 16 bits, too."""
        return max(self.itemsize, 4)

    def trained(self, shape: ModelShape) -> int:
        """How many parameters learn."""
        return shape.adapters(self.lora) if self.lora else shape.parameters

    def engine_option(self, name: str) -> Any:
        """An option of the engine, or its default; None where it has none of this name."""
        parameter = inspect.signature(engine_class(self.engine).__init__).parameters.get(name)
        return self.engine_options.get(name, None if parameter is None else parameter.default)

    def rows_of_step(self) -> int:
        """Most completions of an optimizer step that one learner may be dealt."""
        shared = self.updates_per_batch * self.learners
        groups = (math.ceil(self.batch_size * self.streams[name]) for name in self.trained_streams)
        return sum(-(-n // shared) for n in groups) * self.group_size

    def rows_in_flight(self) -> int:
        """Most completions that one engine is asked for at a time: all streams may be one request."""
        groups = sum(math.ceil(self.batch_size * share) for share in self.streams.values())
        return -(-groups // max(self.num_env_runners, 1)) * self.group_size

    def tokens_of(self, rows: int) -> int:
        """Tokens of a pass over so many of the longest completions."""
        prompts = -(-rows // self.group_size) if self.share_prompts else rows
        return rows * self.max_new_tokens + prompts * self.prompt_tokens

    def rows_of_pass(self) -> int:
        """Most completions of a pass where all are as long as they may be; one goes however long it is."""
        rows = min(self.rows_of_step(), self.rows_per_backward or self.rows_of_step())
        if self.tokens_per_backward is None:
            return rows
        return max(bisect_right(range(1, rows + 1), self.tokens_per_backward, key=self.tokens_of), 1)

    def work(self) -> Work:
        """The largest pass."""
        rows = self.rows_of_pass()
        return Work(
            rows,
            -(-rows // self.group_size),
            self.prompt_tokens,
            max(self.max_new_tokens, 2),
            self.dtype,
            sharded=self.sharded,
            lora=self.lora,
            share_prompts=self.share_prompts,
            checkpoint=bool(self.checkpoint_activations),
            attention=self.attn_implementation,
            entropy=self.entropy,
        )


def _hashable(targets: str | Sequence[str]) -> str | tuple[str, ...]:
    return targets if isinstance(targets, str) else tuple(targets)
