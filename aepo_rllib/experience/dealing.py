"""From groups to train batches: whole groups dealt to optimizer steps and learners, rows weighted, padding last.

Denominators are per optimizer step over *all* learners. Rows with advantage 0 count in them but skip the forward
pass, and DDP averages over learners, so that every weight is multiplied by their number: any split of a batch
gives the same gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aepo_rllib.columns import Columns
from aepo_rllib.experience.groups import Groups, problem_of, verdict_of
from aepo_rllib.objectives.losses import row_weights


@dataclass(frozen=True)
class Row:
    """One completion to learn from.

    Attributes:
        prompt_ids: Prompt tokens.
        completion_ids: Completion tokens, EOS included.
        policy_logp: Log-prob under the policy that sampled, at T = 1, by the engine.
        advantage: One number for all tokens.
        component: Index of the loss component it belongs to.
        weight: Multiplies the row's summed token losses; set when the row is dealt to an optimizer step.
        problem_id: Of the problem it answers, for messages.
        tempered: Whether it was drawn at the controller's temperature.
        old_logp: `policy_logp` by the learner, where it was asked.
        importance: What its token losses are multiplied by; None is 1.
    """

    prompt_ids: Sequence[int]
    completion_ids: np.ndarray
    policy_logp: np.ndarray
    advantage: float
    component: int
    weight: float = 0.0
    problem_id: str = "?"
    tempered: bool = False
    old_logp: np.ndarray | None = None
    importance: np.ndarray | None = None


RowGroups = list[list[Row]]
"""Rows by group; every row counts in its component's denominator."""


def rows_of(groups: Groups, advantages_PG: Any, component: int, *, tempered: bool = False) -> RowGroups:
    """The judged completions of `groups` with their advantages (P, G). Every turn of an episode is a row."""
    return [
        [
            Row(
                prompt_ids,
                completion_ids,
                policy_logp,
                float(advantage),
                component,
                problem_id=problem_of(episode),
                tempered=tempered,
            )
            for episode, advantage in zip(episodes, advantages, strict=True)
            if verdict_of(episode).usable
            for prompt_ids, completion_ids, policy_logp in zip(
                episode.get_extra_model_outputs(Columns.PROMPT_IDS),
                episode.get_extra_model_outputs(Columns.COMPLETION_IDS),
                episode.get_extra_model_outputs(Columns.POLICY_LOGP),
                strict=True,
            )
        ]
        for episodes, advantages in zip(groups.episodes_PG, advantages_PG, strict=True)
    ]


def carries_gradient(row: Row) -> bool:
    """Whether the learner has to see a row."""
    return row.advantage != 0


def deal(
    streams: Sequence[RowGroups],
    *,
    updates: int,
    learners: int,
    aggregation: str,
    max_length: int,
    micro_batch_size: int | None = None,
    skip_flat_rows: bool = True,
) -> list[list[list[Row]]]:
    """Rows with gradient by optimizer step and learner, weighted.

    Args:
        streams: Row groups of every loss component.
        updates: Optimizer steps the batch is split into.
        learners: Learners that share each step.
        aggregation: See `objectives.row_weights`.
        max_length: Generation budget in tokens.
        micro_batch_size: See `objectives.row_weights`.
        skip_flat_rows: Leave out rows with advantage 0. They count in the denominators either way.
    """
    steps = []
    for update in range(updates):
        shares: list[list[Row]] = [[] for _ in range(learners)]
        for groups in streams:
            part = groups[update * len(groups) // updates : (update + 1) * len(groups) // updates]
            counted = [row for group in part for row in group]
            weights = iter(
                row_weights(
                    [len(row.completion_ids) for row in counted],
                    aggregation=aggregation,
                    max_length=max_length,
                    micro_batch_size=micro_batch_size,
                )
            )
            for position, group in enumerate(part):
                weighted = [replace(row, weight=next(weights) * learners) for row in group]
                shares[position % learners] += [row for row in weighted if carries_gradient(row) or not skip_flat_rows]
        steps.append(shares)
    return steps


def replace_first_rows(main: RowGroups, replacements: Sequence[Row]) -> RowGroups:
    """`main` with its first rows replaced, in order; rows beyond the last replacement stay."""
    taken = iter(replacements)
    return [[next(taken, row) for row in group] for group in main]


def columns_of(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """A rectangular batch of rows.

    Without rows it holds a single row of weight 0, so that the learner still takes part in every collective
    operation and no other learner waits for it.
    """
    rows = rows or [Row([0], np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.float32), 0.0, 0)]
    prompts = {tuple(row.prompt_ids): None for row in rows}
    index_of = {prompt: index for index, prompt in enumerate(prompts)}
    width = max(len(row.prompt_ids) for row in rows)
    length = max(len(row.completion_ids) for row in rows)
    batch = {
        Columns.PROMPT_IDS: np.zeros((len(rows), width), dtype=np.int64),
        Columns.PROMPT_MASK: np.zeros((len(rows), width), dtype=bool),
        Columns.COMPLETION_IDS: np.zeros((len(rows), length), dtype=np.int64),
        Columns.COMPLETION_MASK: np.zeros((len(rows), length), dtype=bool),
        Columns.POLICY_LOGP: np.zeros((len(rows), length), dtype=np.float32),
        Columns.OLD_LOGP: np.zeros((len(rows), length), dtype=np.float32),
        Columns.IMPORTANCE: np.ones((len(rows), length), dtype=np.float32),
        Columns.PROMPT_INDEX: np.array([index_of[tuple(row.prompt_ids)] for row in rows]),
        Columns.ADVANTAGE: np.array([row.advantage for row in rows], dtype=np.float32),
        Columns.WEIGHT: np.array([row.weight for row in rows], dtype=np.float32),
        Columns.COMPONENT: np.array([row.component for row in rows]),
    }
    for index, row in enumerate(rows):
        batch[Columns.PROMPT_IDS][index, width - len(row.prompt_ids) :] = row.prompt_ids
        batch[Columns.PROMPT_MASK][index, width - len(row.prompt_ids) :] = True
        batch[Columns.COMPLETION_IDS][index, : len(row.completion_ids)] = row.completion_ids
        batch[Columns.COMPLETION_MASK][index, : len(row.completion_ids)] = True
        batch[Columns.POLICY_LOGP][index, : len(row.completion_ids)] = row.policy_logp
        old_logp = row.policy_logp if row.old_logp is None else row.old_logp
        batch[Columns.OLD_LOGP][index, : len(row.completion_ids)] = old_logp
        if row.importance is not None:
            batch[Columns.IMPORTANCE][index, : len(row.completion_ids)] = row.importance
    return batch
