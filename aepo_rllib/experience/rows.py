"""Rows: completions to learn from, one by one and side by side as the columns of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aepo_rllib.columns import Columns
from aepo_rllib.experience.groups import Groups, problem_of, verdict_of


@dataclass(frozen=True)
class Row:
    """One completion to learn from. T is its number of tokens, K the number of terms of the loss.

    Attributes:
        prompt_ids: Prompt tokens.
        completion_ids: Completion tokens, EOS included, (T,).
        policy_logp: Log-prob under the policy that sampled, at T = 1, by the engine, (T,).
        advantage: One number for all tokens, or one each, (T,).
        stream: Place of its stream among those of the method.
        problem_id: Of the problem it answers, for messages.
        tempered: Whether it was drawn at another temperature than 1.
        weights: Of the row's summed token losses in every term, (K,); set when the row is dealt.
        place: Among the rows of its stream in an optimizer step, whichever learner has it; likewise.
        mean_weight: What turns token sums into the mean over the main stream, times the learners; 0 elsewhere.
        factors: Of its token losses, in all terms (T,) or in each (K, T); None is 1.
        old_logp: `policy_logp` by the learner, where it was asked, (T,).
        ref_logp: Log-prob under the starting weights, where it is read, (T,).
        heated_logp: Log-prob under the policy that sampled at a temperature, where it is read, (T,).
        temperature: That temperature.
    """

    prompt_ids: Sequence[int]
    completion_ids: np.ndarray
    policy_logp: np.ndarray
    advantage: float | np.ndarray
    stream: int = 0
    problem_id: str = "?"
    tempered: bool = False
    weights: Sequence[float] = ()
    place: int = 0
    mean_weight: float = 0.0
    factors: np.ndarray | None = None
    old_logp: np.ndarray | None = None
    ref_logp: np.ndarray | None = None
    heated_logp: np.ndarray | None = None
    temperature: float = 1.0

    @property
    def has_advantage(self) -> bool:
        """Whether the advantage of some token is not 0."""
        return bool(self.advantage.any() if isinstance(self.advantage, np.ndarray) else self.advantage)


RowGroups = list[list[Row]]
"""Rows by group; every row counts in the denominators of its stream."""
EMPTY = Row([0], np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.float32), 0.0, stream=-1)
"""A learner without rows gets this one, of no stream, and so takes part in every collective operation: no other learner
waits for it."""


def rows_of(groups: Groups, advantages_PG: Any, stream: int, *, tempered: bool = False) -> RowGroups:
    """The judged completions of `groups` with their advantages (P, G). Every turn of an episode is a row."""
    return [
        [
            Row(
                prompt_ids,
                completion_ids,
                policy_logp,
                float(advantage),
                stream,
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


def columns_of(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """A rectangular batch of rows. Columns that no row has (factors, log-probs nobody reads) are left out."""
    rows = rows or [EMPTY]
    longest = max(len(row.completion_ids) for row in rows)
    batch = {
        **token_columns(rows),
        Columns.POLICY_LOGP: padded([row.policy_logp for row in rows]),
        Columns.OLD_LOGP: padded([row.policy_logp if row.old_logp is None else row.old_logp for row in rows]),
        Columns.ADVANTAGE: np.zeros((len(rows), longest), dtype=np.float32),
        Columns.STREAM: np.array([row.stream for row in rows]),
        Columns.WEIGHT: _weights(rows),
        Columns.MEAN_WEIGHT: np.array([row.mean_weight for row in rows], dtype=np.float32),
    }
    for line_T, row in zip(batch[Columns.ADVANTAGE], rows, strict=True):
        line_T[: len(row.completion_ids)] = row.advantage
    for name, values in ((Columns.REF_LOGP, "ref_logp"), (Columns.HEATED_LOGP, "heated_logp")):
        given = [getattr(row, values) for row in rows]
        if any(value is not None for value in given):
            lengths = [len(row.completion_ids) for row in rows]
            batch[name] = padded(
                [np.zeros(n) if value is None else value for value, n in zip(given, lengths, strict=True)]
            )
    if any(row.temperature != 1 for row in rows):
        batch[Columns.TEMPERATURE] = np.array([row.temperature for row in rows], dtype=np.float32)
    if any(row.factors is not None for row in rows):
        shape = (*batch[Columns.WEIGHT].shape, batch[Columns.COMPLETION_IDS].shape[1])
        factors_NKT = batch[Columns.FACTOR] = np.ones(shape, dtype=np.float32)
        for factors_KT, row in zip(factors_NKT, rows, strict=True):
            if row.factors is not None:
                factors_KT[:, : len(row.completion_ids)] = row.factors
    return batch


def token_columns(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """The columns that a model is shown: prompts padded on the left, completions on the right."""
    prompts = {tuple(row.prompt_ids): None for row in rows}
    index_of = {prompt: index for index, prompt in enumerate(prompts)}
    width, lengths_N = max(len(row.prompt_ids) for row in rows), np.array([len(row.completion_ids) for row in rows])
    prompt_ids_NL = np.zeros((len(rows), width), dtype=np.int64)
    prompt_mask_NL = np.zeros((len(rows), width), dtype=bool)
    for row, ids_L, mask_L in zip(rows, prompt_ids_NL, prompt_mask_NL, strict=True):
        ids_L[width - len(row.prompt_ids) :] = row.prompt_ids
        mask_L[width - len(row.prompt_ids) :] = True
    return {
        Columns.PROMPT_IDS: prompt_ids_NL,
        Columns.PROMPT_MASK: prompt_mask_NL,
        Columns.PROMPT_INDEX: np.array([index_of[tuple(row.prompt_ids)] for row in rows]),
        Columns.COMPLETION_IDS: padded([row.completion_ids for row in rows], np.int64),
        Columns.COMPLETION_MASK: np.arange(lengths_N.max()) < lengths_N[:, None],
    }


def padded(values: Sequence[Any], dtype: Any = np.float32) -> np.ndarray:
    """Sequences (T,) of several lengths as (N, T), zeros on the right."""
    result = np.zeros((len(values), max(map(len, values))), dtype=dtype)
    for line, value in zip(result, values, strict=True):
        line[: len(value)] = value
    return result


def _weights(rows: Sequence[Row]) -> np.ndarray:
    terms = max(1, *(len(row.weights) for row in rows))
    return np.array([row.weights or [0.0] * terms for row in rows], dtype=np.float32)


def sequences_of(rows: Iterable[Row]) -> list[tuple[list[int], list[int]]]:
    """Prompt and completion of each row, as they are scored."""
    return [(list(row.prompt_ids), row.completion_ids.tolist()) for row in rows]
