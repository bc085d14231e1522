"""AEPO as the authors' own code has it (github.com/597358816/AEPO, commit b353a05), by name `aepo_authors`.

What it does otherwise than the paper's formula:

* tempered positives *replace* the first main rows, at most 60 of 2,560, half as many when cooling; no alpha;
* a positive is a tempered row whose group advantage exceeds 0.05, so that all-correct groups have none;
* only the first quarter of the prompts is sampled again, and the first positives in prompt order are taken;
* the entropy is the surprisal of the previous update, over a moving policy and over the replaced rows too, as a mean
  of micro-batch means; it counts as 0 before the first update, so that the first step is hot; equality heats;
* tempered rows go through the clipped surrogate (with ratio 1 in the first optimizer step, where they all are);
* top_p = 0.99 cuts both streams and is ignored in the ratio;
* a batch without any positive is a plain GRPO step here; there it is a crash.

Sizes and learning rate are those of their Qwen2.5-Math-7B script; set your own for smaller models, as the command does
for the embedded one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib import metrics
from aepo_rllib.algorithms.aepo import AEPO, TEMPERED, AEPOConfig
from aepo_rllib.control.dial_loop import DialLoop
from aepo_rllib.experience.dealing import replace_first_rows
from aepo_rllib.experience.rows import RowGroups
from aepo_rllib.objectives.advantages import Advantage, positive_advantage
from aepo_rllib.objectives.parts import MAIN, Method
from aepo_rllib.support.options import Idle, option
from aepo_rllib.training.declared import setter


class AEPOAuthorsConfig(AEPOConfig):
    """`AEPOConfig` with the authors' settings, and those that their code alone has.

    On the embedded model, `aepo train --algo aepo_authors --batch-size 16 --group-size 8 --set lr=6e-4 --set
    max_new_tokens=64 --set replace_rows=8`.

    .. testcode::

        config = AEPOAuthorsConfig().training(batch_size=16, group_size=8, lr=6e-4).tempered_term(replace_rows=8)
        algo = config.build_algo()
    """

    # Batches and optimizer.
    batch_size, group_size, updates_per_batch = 512, 5, 4
    aggregation, micro_batch_size, skip_flat_rows = "micro-batch-token-mean", 4, False
    clip_low, clip_high, dual_clip = 0.2, 0.2, 3.0
    lr, weight_decay, grad_clip = 1e-6, 0.01, 1.0
    # Sampling.
    max_new_tokens, top_p, ignore_filters_in_ratio = 2048, 0.99, True
    # Dial and tempered rows.
    target_entropy, controller = 0.5, "heating_switch"
    tempered_share = 0.25
    entropy_source: str = option(
        metrics.UPDATE_SURPRISAL,
        "Which entropy is read: that of the previous batch while it was learned from (the authors'), or one of this "
        "batch's T = 1 completions.",
        choices=(metrics.UPDATE_SURPRISAL, metrics.EXACT_ENTROPY, metrics.SAMPLED_SURPRISAL),
    )
    entropy_lag: int = option(0, "1 reads up to the previous batch's entropy.", least=0, most=1)
    initial_entropy: float | None = option(
        0.0,
        "Nats per token that are read where no batch has been measured yet; None for a first step at T = 1.",
        optional=True,
        least=0,
    )
    IDLE = (Idle(("alpha",), "replaced rows are main rows, leave it out"),)
    replace_rows: int = option(60, "Most main rows replaced per batch.", least=1)
    halve_when_cold: bool = option(True, "Replace half as many rows when T is below 1.")

    @override(AEPOConfig)
    @setter
    def entropy_control(
        self, *, entropy_lag: int = NotProvided, initial_entropy: float | None = NotProvided, **kwargs: Any
    ) -> Self:
        """Sets the entropy dial: these, and those of `AEPOConfig.entropy_control`."""
        return super().entropy_control(**kwargs)

    @override(AEPOConfig)
    @setter
    def tempered_term(
        self, *, replace_rows: int = NotProvided, halve_when_cold: bool = NotProvided, **kwargs: Any
    ) -> Self:
        """Sets what is sampled at the controller's temperature, and how many rows it replaces."""
        return super().tempered_term(**kwargs)

    @override(AEPOConfig)
    def method(self) -> Method:
        """Two streams, and terms that read the first."""
        both = super().method()
        return replace(both, terms=both.terms_of(MAIN))

    @override(AEPOConfig)
    def measured_entropy(self) -> str:
        """That of a batch: an update has none before the first."""
        late = self.entropy_source == metrics.UPDATE_SURPRISAL
        return self.engine_entropy() if late else super().measured_entropy()

    @override(AEPOConfig)
    def tempered_advantage(self) -> Advantage:
        """1 for a positive."""
        return positive_advantage

    @override(AEPOConfig)
    def dial_loop(self) -> DialLoop:
        """The controller with what it reads, a batch late or two."""
        return DialLoop(self.dial(), window=self.entropy_window, lag=self.entropy_lag, initial=self.initial_entropy)

    @override(AlgorithmConfig)
    def validate(self) -> None:
        """Checks what the authors' code has of its own besides what AEPO checks."""
        super().validate()
        late = self.entropy_source == metrics.UPDATE_SURPRISAL
        if late and self.entropy_lag:
            raise ValueError(
                f"entropy_lag={self.entropy_lag} does nothing with entropy_source={self.entropy_source!r}: that is the "
                "previous batch's already; leave it out"
            )
        if not late and not self.entropy_lag and self.initial_entropy != type(self)().initial_entropy:
            raise ValueError(
                f"initial_entropy={self.initial_entropy} does nothing with entropy_source={self.entropy_source!r} and "
                "entropy_lag=0: every batch is measured before it is read; leave it out"
            )
        if late and self.skip_flat_rows:
            raise ValueError(
                f"entropy_source={self.entropy_source!r} and skip_flat_rows={self.skip_flat_rows} clash: it is a mean "
                "over all rows of an update; set skip_flat_rows=False"
            )

    @override(AEPOConfig)
    def _validate_tempered(self) -> None:
        """Replaced rows are not dealt by themselves."""


class AEPOAuthors(AEPO):
    """AEPO with replaced rows and the entropy of the previous update."""

    Config = AEPOAuthorsConfig
    config: AEPOAuthorsConfig

    @override(Algorithm)
    def training_step(self) -> None:
        """Sample, choose T by the last update's entropy, sample tempered, replace rows, update, sync."""
        with self.step_frame():
            problems = self.next_problems()
            main = self.ask(MAIN, problems)
            source = self.config.entropy_source
            late = source == metrics.UPDATE_SURPRISAL
            temperature = self.turn_dial(self.update_surprisal if late else lambda: main.groups.entropy(source))
            tempered = self.ask(TEMPERED, self.share_of(problems, TEMPERED), temperature=temperature)
            rows = self.rows({MAIN: main.groups, TEMPERED: tempered.groups})
            self.learn_rows({MAIN: self.replaced(rows[MAIN], rows[TEMPERED], temperature)})
            self.sync_weights()

    def replaced(self, main: RowGroups, tempered: RowGroups, temperature: float) -> RowGroups:
        """Main rows, the first of them replaced by tempered positives with advantage 1."""
        positives = [replace(row, stream=0, advantage=1.0) for group in tempered for row in group if row.has_advantage]
        positives = positives[: self.config.replace_rows]
        if self.config.halve_when_cold and temperature < 1:
            positives = positives[: len(positives) // 2]
        return replace_first_rows(main, positives)
