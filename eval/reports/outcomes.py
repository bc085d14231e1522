"""From lm-eval's results to what became of every problem."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aepo_rllib.envs.tally import Tally
from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.eval.data import docs_digest
from aepo_rllib.eval.graded import GradedSample, tally_of
from aepo_rllib.eval.majority import maj_at_k
from aepo_rllib.eval.passk import pass_at_k_table

MAX_LEVEL_CHARS = 100


@dataclass(frozen=True)
class ProblemOutcome:
    """What became of one problem's samples.

    Attributes:
        id: The problem's.
        digest: Tells it from others of that id.
        family: Its family, or "".
        level: How hard it is said to be (`level` in its `extra`), or "".
        verdicts: One per sample, as values of `Verdict`.
        answers: Final answer of each, "" where there is none.
        truncated: Samples cut at the token limit, or None where the model does not tell.
        tokens: Their mean length, or None likewise.
        tally: How often each answer, and each way to a correct one, was given.
    """

    id: str
    digest: str
    family: str
    level: str
    verdicts: tuple[str, ...]
    answers: tuple[str, ...]
    truncated: int | None
    tokens: float | None
    tally: Tally

    @property
    def n(self) -> int:
        """Number of samples that were drawn."""
        return len(self.verdicts)

    @property
    def right(self) -> list[bool]:
        """Whether each sample is correct."""
        return [verdict == Verdict.CORRECT.value for verdict in self.verdicts]

    @property
    def correct(self) -> int:
        """Number of correct samples."""
        return sum(self.right)

    def histogram(self, most: int = 20) -> list[tuple[str, int, str]]:
        """(answer, how often, verdict) of the most frequent answers."""
        pairs = Counter(zip(self.answers, self.verdicts, strict=True))
        return [(answer, count, verdict) for (answer, verdict), count in pairs.most_common(most)]


def read_outcomes(results: Mapping[str, Any]) -> dict[str, list[ProblemOutcome]]:
    """Outcomes of every suite in lm-eval's results, which must hold the samples (`log_samples=True`)."""
    return {suite: [_outcome(sample) for sample in samples] for suite, samples in results["samples"].items()}


def table_of(outcomes: Sequence[ProblemOutcome], ks: Sequence[int]) -> np.ndarray:
    """pass@k of every problem (P, K), see `pass_at_k_table`; nan where nothing was drawn."""
    if not any(outcome.n for outcome in outcomes):
        return np.full((len(outcomes), len(ks)), math.nan)
    n_P = [outcome.n for outcome in outcomes]
    reached = [k for k in ks if k <= max(n_P)]
    values_PK = np.full((len(outcomes), len(ks)), math.nan)
    values_PK[:, [k in reached for k in ks]] = pass_at_k_table(n_P, [outcome.correct for outcome in outcomes], reached)
    return values_PK


def votes_of(outcomes: Sequence[ProblemOutcome], ks: Sequence[int], *, seed: int = 0) -> np.ndarray:
    """maj@k of every problem (P, K), see `maj_at_k`; nan where a problem has fewer than k samples."""
    votes = [maj_at_k(outcome.answers, outcome.right, ks, seed=seed) for outcome in outcomes]
    return np.array(votes, dtype=float).reshape(len(outcomes), len(ks))


def level_of(doc: Mapping[str, Any]) -> str:
    """The level of a problem: a number or a word that its row names so in `extra`; "" where it does not."""
    level = json.loads(doc.get("extra") or "{}").get("level", "")
    return str(level)[:MAX_LEVEL_CHARS] if isinstance(level, str | int | float) else ""


def _outcome(sample: Mapping[str, Any]) -> ProblemOutcome:
    graded = [GradedSample(*entry) for entry in sample["filtered_resps"][0]]
    cut, tokens = [one.truncated for one in graded], [one.tokens for one in graded]
    return ProblemOutcome(
        id=sample["doc"]["id"],
        digest=docs_digest([sample["doc"]]),
        family=sample["doc"]["family"],
        level=level_of(sample["doc"]),
        verdicts=tuple(one.verdict for one in graded),
        answers=tuple(one.answer for one in graded),
        truncated=None if None in cut else sum(map(bool, cut)),
        tokens=None if None in tokens or not tokens else sum(filter(None, tokens)) / len(tokens),
        tally=tally_of(graded),
    )
