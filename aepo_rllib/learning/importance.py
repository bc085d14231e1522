"""What rows are given before the first optimizer step of a batch: log-probs by the learner, importance of tokens.

An engine with a model of its own (vLLM) has slightly other log-probs than the learner. With a cap, every ratio is taken
against the learner, and the rows of the policy itself are weighted by truncated importance sampling.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch

from aepo_rllib.columns import Columns
from aepo_rllib.experience.dealing import matters
from aepo_rllib.experience.rows import Row, RowGroups, sequences_of
from aepo_rllib.objectives.losses import truncated_importance
from aepo_rllib.objectives.parts import Term
from aepo_rllib.rollout.engine import Sequences


class Scorer(Protocol):
    """Gives figures of completions, as `CausalLMLearner.score`."""

    def score(self, sequences: Sequences, reads: Collection[str] = (), **options: Any) -> list[dict[str, np.ndarray]]:
        """Figures by column name."""


def corrected(row: Row, old_logp: np.ndarray, cap: float) -> Row:
    """A row whose ratio is taken against the learner's log-probs of the weights that sampled, (tokens,).

    A row of the policy itself gets the truncated importance of engine and learner; a tempered one keeps factor 1
    (Corollary F in docs/method.md).
    """
    if row.tempered:
        return replace(row, old_logp=old_logp)
    importance = truncated_importance(torch.tensor(old_logp), torch.tensor(row.policy_logp), cap)
    return replace(row, old_logp=old_logp, factors=importance.numpy())


def capped_share(rows: Sequence[Row], cap: float) -> float:
    """Share of the tokens of weighted rows whose importance was cut to the cap; 0 without rows."""
    cut = [
        row.old_logp - row.policy_logp > math.log(cap)
        for row in rows
        if row.factors is not None and row.old_logp is not None
    ]
    return float(np.concatenate(cut).mean()) if cut else 0.0


def scored(
    groups: RowGroups, terms: Collection[Term], learners: Scorer, *, cap: float | None, temperature: float
) -> RowGroups:
    """A stream's undealt rows with what its terms read of other policies than the one that learns.

    Args:
        groups: The rows.
        terms: Those of the stream.
        learners: Are asked, once for each policy and not at all without need.
        cap: Of the importance; None for no correction.
        temperature: Of `heated_logp`.
    """
    reads = frozenset().union(*(term.scored_reads for term in terms))
    places = [(g, r) for g, group in enumerate(groups) for r, row in enumerate(group) if matters(row, terms)]
    rows = [groups[g][r] for g, r in places]
    heated, untempered = "heated_logp" in reads, any(not row.tempered for row in rows)
    ratio = cap is not None and (untempered or any(term.has_ratio for term in terms))
    if not (ratio or reads & {"heated_logp", "ref_logp"}):
        return groups
    sequences = sequences_of(rows)
    if ratio or heated:
        figures = learners.score(sequences, [Columns.HEATED_LOGP] * heated, temperature=temperature)
        rows = [replace(row, heated_logp=f.get(Columns.HEATED_LOGP)) for row, f in zip(rows, figures, strict=True)]
        if cap is not None and ratio:
            rows = [corrected(row, f[Columns.POLICY_LOGP], cap) for row, f in zip(rows, figures, strict=True)]
    if "ref_logp" in reads:
        figures = learners.score(sequences, by_reference=True)
        rows = [replace(row, ref_logp=f[Columns.POLICY_LOGP]) for row, f in zip(rows, figures, strict=True)]
    result = [list(group) for group in groups]
    for (g, r), row in zip(places, rows, strict=True):
        result[g][r] = row
    return result
