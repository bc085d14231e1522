"""`LearnerSide`: a batch's optimizer steps, asked of a learner group, be it local or several remote learners."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import ray
import torch
from ray.rllib.core.learner.learner_group import LearnerGroup

from aepo_rllib.columns import Columns
from aepo_rllib.experience.dealing import Mean, Shares, deal
from aepo_rllib.experience.passes import Passes, passes_of
from aepo_rllib.experience.rows import RowGroups
from aepo_rllib.learning.importance import scored
from aepo_rllib.learning.optimizer_step import OptimizerStep, ask_all, take_step
from aepo_rllib.learning.scoring import Figures, scored_in_passes
from aepo_rllib.learning.selecting import selected
from aepo_rllib.rollout.engine import Sequences


class LearnerSide:
    """What an algorithm asks of its learners.

    Args:
        group: The learners.
        config: A `TextRLConfig`.
    """

    def __init__(self, group: LearnerGroup, config: Any) -> None:
        self.group, self.config = group, config

    def scored(self, streams: Mapping[str, RowGroups], *, temperature: float = 1.0) -> dict[str, RowGroups]:
        """Rows with what their terms read of the policy that sampled; before a batch's first optimizer step.

        Args:
            streams: Undealt rows, by stream.
            temperature: Of `Tokens.heated_logp`.
        """
        method, cap = self.config.method(), self.config.importance_cap
        return {
            name: scored(groups, method.terms_of(name).values(), self, cap=cap, temperature=temperature)
            for name, groups in streams.items()
        }

    def deal(self, streams: Mapping[str, RowGroups], coefficients: Mapping[str, float]) -> list[Shares]:
        """The rows of each optimizer step of one epoch, weighted; see `dealing.deal`."""
        config = self.config
        return deal(
            streams,
            config.method(),
            Mean(config.aggregation, config.max_new_tokens, config.micro_batch_size),
            updates=config.updates_per_batch,
            learners=max(config.num_learners, 1),
            coefficients=coefficients,
            skip_flat_rows=config.skip_flat_rows,
        )

    def steps(self, dealt: list[Shares], *, env_steps: int, step: int) -> Iterator[OptimizerStep]:
        """Take the optimizer steps of all epochs, one with every `next`.

        Args:
            dealt: The rows of one epoch's steps.
            env_steps: Environment steps sampled so far; what RLlib's schedules read.
            step: Number of the training step, for messages and the draws of selections.

        Raises:
            NonFiniteError: a gradient is NaN or infinite; names the problems.
        """
        method = self.config.method()
        for update, shares in enumerate(dealt * (self.config.num_epochs or 1)):
            seed = np.random.SeedSequence([self.config.seed or 0, step, update]).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(seed[0] >> 1))
            chosen = passes_of(selected(shares, method, self, generator), self.config.pass_limit())
            yield take_step(self.group, chosen, env_steps=env_steps, step=step)

    def score(self, sequences: Sequences, reads: Collection[str] = (), **options: Any) -> list[Figures]:
        """Figures of given completions under the present weights, see `CausalLMLearner.score`.

        Learners share the work.
        """

        def ask(passes: list[Passes]) -> list[list[Figures]]:
            shared = passes if self.group.is_local else ray.put(passes)
            return ask_all(
                self.group, lambda learner: learner.score_passes(_here(shared)[learner.index], reads, **options)
            )

        limit = self.config.scoring_limit(len(sequences))
        return scored_in_passes(sequences, limit, ask, learners=max(len(self.group), 1))

    def log_probs(self, sequences: Sequences) -> list[np.ndarray]:
        """log pi of given completions under the present weights: an array (completion tokens,) for each."""
        return [figures[Columns.POLICY_LOGP] for figures in self.score(sequences)]

    def release_memory(self) -> None:
        """Have learners give back the memory of the device that they hold without need."""
        ask_all(self.group, lambda learner: learner.release_memory())


def _here(shared: Any) -> Any:
    return ray.get(shared) if isinstance(shared, ray.ObjectRef) else shared
