"""Selections, made for a whole optimizer step: over the rows of all learners, under the weights before the step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from aepo_rllib.columns import Columns
from aepo_rllib.experience.dealing import Shares
from aepo_rllib.experience.rows import Row, columns_of, padded, sequences_of
from aepo_rllib.learning.batches import LIVE_COLUMNS
from aepo_rllib.learning.importance import Scorer
from aepo_rllib.objectives.parts import Method, Tokens


def selected(shares: Shares, method: Method, learners: Scorer, generator: torch.Generator) -> Shares:
    """The same rows with the factors of the method's selections; without any, without asking the learners.

    Args:
        shares: Of one optimizer step.
        method: Whose terms may have selections.
        learners: Are asked for the log-probs of all rows, and for what else a selection reads.
        generator: For whatever a selection draws.
    """
    if not any(term.select for term in method.terms.values()):
        return shares
    rows = [row for share in shares for row in share]
    reads = [column for name, column in LIVE_COLUMNS.items() if name in method.selection_reads]
    figures = learners.score(sequences_of(rows), reads)
    factors = [np.ones((len(method.terms), len(row.completion_ids)), dtype=np.float32) for row in rows]
    for place, term in enumerate(method.terms.values()):
        own = sorted((n for n, row in enumerate(rows) if row.weights[place]), key=lambda n: rows[n].place)
        if term.select is None or not own:
            continue
        factor_BT = term.select(_tokens([rows[n] for n in own], [figures[n] for n in own]), generator)
        for n, factor_T in zip(own, factor_BT.float().numpy(), strict=True):
            factors[n][place] = factor_T[: factors[n].shape[1]]
    chosen = iter(
        replace(row, factors=factor_KT if row.factors is None else factor_KT * row.factors)
        for row, factor_KT in zip(rows, factors, strict=True)
    )
    return [[next(chosen) for _ in share] for share in shares]


def _tokens(rows: Sequence[Row], figures: Sequence[dict[str, np.ndarray]]) -> Tokens:
    columns = {name: torch.from_numpy(column) for name, column in columns_of(rows).items()}

    def live(name: str) -> torch.Tensor:
        return torch.from_numpy(padded([figure[name] for figure in figures]))

    return Tokens(
        live(Columns.POLICY_LOGP),
        columns[Columns.OLD_LOGP],
        columns[Columns.ADVANTAGE],
        columns[Columns.COMPLETION_MASK],
        ref_logp=columns.get(Columns.REF_LOGP),
        heated_logp=columns.get(Columns.HEATED_LOGP),
        **{name: live(column) for name, column in LIVE_COLUMNS.items() if column in figures[0]},
    )
