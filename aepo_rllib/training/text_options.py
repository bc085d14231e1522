"""Options of every algorithm on text, beside RLlib's own; defaults suit the embedded model on two CPU cores."""

from __future__ import annotations

import math
from typing import Any

from aepo_rllib import metrics
from aepo_rllib.experience.passes import PassLimit
from aepo_rllib.learning.probe import PROBE_ROWS, Tolerance
from aepo_rllib.models.hf import DTYPES
from aepo_rllib.models.lora import ALL_LINEAR, Lora
from aepo_rllib.models.named_folder import EMBEDDED
from aepo_rllib.objectives.aggregation import AGGREGATIONS
from aepo_rllib.rollout import SamplingFilters
from aepo_rllib.rollout import engine_class as find_engine_class
from aepo_rllib.support.options import option
from aepo_rllib.training.gating import GatingOptions


class TextOptions(GatingOptions):
    """Declared once; `TextRLConfig` sets and checks them."""

    num_learners: int
    seed: int | None
    """RLlib's."""

    # Model.
    model_path: str = option(
        EMBEDDED,
        "Hugging Face folder or id, 'embedded' or 'embedded-chain'. Read as safetensors; remote code stays off.",
    )
    dtype: str = option(
        "float32",
        "What forward passes compute in, and what exports are stored in. The learner keeps float32 weights either "
        "way: a step of 1e-6 is lost in 16 bits.",
        choices=tuple(DTYPES),
    )
    share_prompts: bool = option(True, "Run each distinct prompt once in the learner, see `TokenScorer`.")
    attn_implementation: str | None = option(
        None,
        "transformers' attention in the learner: 'sdpa', 'eager', 'flash_attention_2' ... None: transformers' choice.",
        kind=str,
    )
    lora_rank: int | None = option(
        None,
        "LoRA: adapters of this rank learn, in float32, beside the model's own weights, frozen and of `dtype`, see "
        "docs/lora.md. No dropout: a ratio of 1 at the first update needs one policy. None: all weights learn.",
        kind=int,
        least=1,
    )
    lora_alpha: float | None = option(
        None, "What adapters add is scaled by lora_alpha / lora_rank. None: twice the rank.", kind=float, above=0
    )
    lora_target_modules: str | list[str] = option(
        ALL_LINEAR,
        "Linear maps that get an adapter, by the last parts of their names ('q_proj'). 'all-linear': all but the head.",
        several=True,
        instead=ALL_LINEAR,
    )
    # Sampling.
    engine: str = option(
        "transformers",
        "Rollout engine: 'transformers', 'vllm', or one of your own, see docs/extending/engine.md.",
    )
    engine_options: dict[str, Any] = option({}, "The engine's own options.")
    probe_rows: int | None = option(
        None,
        "So many completions are asked of engines and learner after every weight update; where their log-probs "
        "differ by more than the tolerances, the run stops. None asks 4 of an engine that has a model "
        "implementation of its own (vLLM), else 0: the first ratio of a batch tells as much.",
        kind=int,
        least=0,
    )
    max_new_tokens: int = option(64, "Longest completion in tokens, EOS included.", least=1)
    top_p: float = option(
        1.0,
        "Filter of the sampling law: the smallest set of tokens of this probability. The ratio is taken against the "
        "unfiltered policy, so filters are refused, unless `ignore_filters_in_ratio` accepts the mismatch.",
        above=0,
        most=1,
    )
    top_k: int = option(0, "Filter: so many likeliest tokens; 0 for all.", least=0)
    min_p: float = option(
        0.0,
        "Filter: tokens of at least this share of the likeliest one's probability.",
        least=0,
        most=1,
    )
    ignore_filters_in_ratio: bool = option(
        False,
        "Accept filters although the ratio knows nothing of them (the authors' code does, with top_p 0.99).",
    )
    sleep_while_learning: bool = option(
        False,
        "Engines give their memory back while the learner works; for one GPU that both share.",
    )
    torch_threads: int = option(
        1,
        "Torch threads of every process; parallelism comes from env runners and learners.",
        least=1,
    )
    # Batches.
    batch_size: int = option(16, "Prompts per training step.", least=1)
    group_size: int = option(8, "Completions per prompt; one alone has no baseline.", least=2)
    updates_per_batch: int = option(2, "Optimizer steps a batch is split into, whole groups each.", least=1)
    aggregation: str = option(
        "token-mean",
        "Mean over the tokens of an optimizer step, see `aepo_rllib.objectives.aggregation.row_weights`.",
        choices=tuple(AGGREGATIONS),
    )
    micro_batch_size: int | None = option(
        None,
        "Completions of a micro-batch, for 'micro-batch-token-mean'.",
        kind=int,
        least=1,
    )
    skip_flat_rows: bool = option(
        True,
        "Leave completions that carry no gradient (advantage 0, in most methods) out of the learner's forward pass. "
        "They stay in the token count; only the surprisal of the update needs them.",
    )
    async_steps: int = option(
        0,
        "1: a batch's optimizer steps are taken while the env runners sample the next one, from the weights before "
        "them. The ratio corrects main rows for it; tempered ones have none, see docs/scale.md. 0: one after another.",
        least=0,
        most=1,
    )
    rows_per_backward: int | None = option(
        None,
        "Most completions of a forward and backward pass of a learner; the gradients of an optimizer step's passes "
        "add up. Bounds memory and changes nothing else. None: all at once.",
        kind=int,
        least=1,
    )
    tokens_per_backward: int | None = option(
        None,
        "Most tokens of such a pass, prompts and padding included; completions of like length go together, and those "
        "of one prompt where that saves more. A completion that has more goes alone. None: any number.",
        kind=int,
        least=1,
    )
    checkpoint_activations: bool | None = option(
        None,
        "Keep only the inputs of decoder layers for the backward pass, and compute the rest again: a sixth to a "
        "twentieth of the memory for a third more work. None: `aepo train` does so where its GPUs would not hold them "
        "otherwise; from Python off, and `planning.fit.resolve_checkpointing` tells.",
        kind=bool,
    )
    learner_sharding: str = option(
        "none",
        "'fsdp': weights, gradients and Adam moments are spread over the learners (FSDP2), of which it takes two or "
        "more. 'none': every learner has all of them (DDP).",
        choices=("none", "fsdp"),
    )
    ratio_tolerance: float | None = option(
        None,
        "The run stops when the ratio of engine and learner is off 1 by more than this, at any token of the first "
        "optimizer step of a batch or of the probe: the engine would be sampling from other weights. None: 0.01, "
        "and no bound in 16 bits, where single tokens differ.",
        kind=float,
        least=0,
    )
    mismatch_tolerance: float = option(
        0.05,
        "Likewise for the mean |log pi - log pi_engine|, in nats per token. In 16 bits this alone stops a run; an "
        "engine that lags by a small update or two is then no further off than rounding is.",
        least=0,
    )
    importance_cap: float | None = option(
        None,
        "Truncated importance sampling: token losses of rows drawn at T = 1 are multiplied by min(pi_old / "
        "pi_engine, cap), pi_old being the learner's policy with the weights that sampled, and all ratios are taken "
        "against pi_old. For engines whose log-probs differ from the learner's (vLLM in 16 bits); 2 is usual. It "
        "costs a forward pass of the learner per batch. Tempered rows are never weighted. None: off.",
        kind=float,
        least=1,
    )
    export_checkpoints: bool = option(
        True, "A Hugging Face model directory in every checkpoint; without, only at the end of a run."
    )
    # Optimizer.
    weight_decay: float = option(0.0, "Of AdamW.", least=0)
    adam_betas: tuple[float, float] = option((0.9, 0.999), "Of AdamW.", least=0, below=1)
    # Problems and env runners.
    validation_problems: str | None = option(
        None,
        "Source for `Algorithm.evaluate`; by default the validation split of a procedural set, and `validation_share` "
        "of other sources.",
        kind=str,
    )
    validation_share: float = option(
        0.05,
        "Of problems that have no validation split, this share is held out for evaluation and not trained on: the same "
        "ones in every run, by a hash of their text. Unused with `validation_problems`, or without evaluation.",
        least=0,
        below=1,
    )
    curriculum_steps: int | None = option(
        None,
        "The problems' levels join one after the other, the easiest first and the hardest after so many steps; None: "
        "all are there from the first. The base entropy is that of all problems.",
        kind=int,
        least=1,
    )
    max_unjudged_share: float = option(
        0.2,
        "The run stops when the grader times out or crashes on more than this share of a batch.",
        least=0,
        most=1,
    )
    max_env_runner_restarts_per_hour: int = option(
        30,
        "The run stops when env runners died more often than this, each, within an hour. (RLlib's own "
        "`max_num_env_runner_restarts` counts over the life of a run; here it is unlimited.)",
        least=0,
    )

    @property
    def sharded(self) -> bool:
        """Whether learners share one set of weights; one learner alone has them all."""
        return self.learner_sharding == "fsdp" and self.num_learners > 1

    def lora(self) -> Lora | None:
        """Adapters that learn in place of the model's weights."""
        if self.lora_rank is None:
            return None
        alpha = self.lora_alpha or 2 * self.lora_rank
        return Lora(self.lora_rank, alpha, self.lora_target_modules, self.seed or 0)

    def module_config(self) -> dict[str, Any]:
        """What a `CausalLMModule` is built from."""
        lora = self.lora()
        return {
            "model": self.model_path,
            "dtype": self.dtype,
            "lora": lora and lora._asdict(),
            "share_prompts": self.share_prompts,
            "checkpoint_activations": self.checkpoint_activations,
            "attn_implementation": self.attn_implementation,
        }

    def pass_limit(self) -> PassLimit:
        """What a forward and backward pass of a learner may hold."""
        return PassLimit(self.rows_per_backward, self.tokens_per_backward, self.share_prompts)

    def scoring_limit(self, sequences: int) -> PassLimit:
        """Likewise where log-probs alone are asked for: at least as little as an optimizer step."""
        limit = self.pass_limit()
        if limit.rows is None and limit.tokens is None:
            return limit._replace(rows=-(-sequences // self.updates_per_batch) or 1)
        return limit

    def probe_count(self) -> int:
        """The number behind `probe_rows`."""
        if self.probe_rows is not None:
            return self.probe_rows
        return PROBE_ROWS if find_engine_class(self.engine).own_model else 0

    def engine_entropy(self) -> str:
        """The better entropy that the engine gives: the exact one where it sees logits, else the sampled surprisal."""
        exact = find_engine_class(self.engine).exact_entropy
        return metrics.EXACT_ENTROPY if exact else metrics.SAMPLED_SURPRISAL

    def measured_entropy(self) -> str:
        """The entropy that the run is about; its base is measured by it, too."""
        return self.engine_entropy()

    def tolerance(self) -> Tolerance:
        """How far the engine's log-probs may be from the learner's."""
        ratio = self.ratio_tolerance
        if ratio is None:
            ratio = math.inf if DTYPES[self.dtype].itemsize == 2 else 0.01
        return Tolerance(ratio, self.mismatch_tolerance)

    def sampling_filters(self) -> SamplingFilters:
        """The filters of the sampling law."""
        return SamplingFilters(top_k=self.top_k, top_p=self.top_p, min_p=self.min_p)
