"""maj@k: how often the answer that most of k samples give is correct.

Shape suffixes: A distinct answers, S samples, D random orders, K values of k.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aepo_rllib.envs.grading.literals import spelling

DRAWS = 256
"""Random orders of the samples; their error in the mean over problems stays below the spread over problems."""


def maj_at_k(answers: Sequence[str], correct: Sequence[bool], ks: Sequence[int], *, seed: int = 0) -> np.ndarray:
    """Probability that the most frequent answer of k samples is correct, (K,).

    Samples without an answer (empty strings) do not vote; with no vote at all the result is wrong. Among answers that
    are equally frequent one is picked at random. For k = n this is exact, for smaller k the mean over random k-subsets
    of the samples.

    Args:
        answers: Final answer of each of n samples.
        correct: Whether it is.
        ks: Values of k; nan where k > n.
        seed: Of the subsets.

    Raises:
        ValueError: a k below 1.
    """
    if min(ks, default=1) < 1:
        raise ValueError(f"maj@{min(ks)} needs k >= 1")
    n = len(answers)
    labels_S, correct_A = _labels(answers, correct)
    if not len(correct_A):
        return np.array([0.0 if k <= n else np.nan for k in ks])
    order_DS = np.random.default_rng(seed).permuted(np.tile(labels_S, (DRAWS, 1)), axis=1)
    return np.array(
        [_share(labels_S[None] if k == n else order_DS[:, :k], correct_A) if k <= n else np.nan for k in ks]
    )


def _labels(answers: Sequence[str], correct: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    """The number of each sample's answer, -1 for none; and which answers are correct."""
    # The verdict is part of a vote: where a percent sign matters, two spellings of one number may differ in it.
    votes = [(spelling(answer), bool(right)) for answer, right in zip(answers, correct, strict=True)]
    numbers: dict[tuple[str, bool], int] = {}
    labels_S = np.array([numbers.setdefault(vote, len(numbers)) if vote[0] else -1 for vote in votes], dtype=int)
    return labels_S, np.array([right for _, right in numbers], dtype=bool)


def _share(labels_DS: np.ndarray, correct_A: np.ndarray) -> float:
    """Mean over rows of the chance that the winner is correct."""
    rows, answers = len(labels_DS), len(correct_A)
    # Votes of all rows at once: answer a of row d is number d * (A + 1) + a + 1; number 0 of a row is "no answer".
    flat = (labels_DS + 1 + np.arange(rows)[:, None] * (answers + 1)).ravel()
    votes_DA = np.bincount(flat, minlength=rows * (answers + 1)).reshape(rows, answers + 1)[:, 1:]
    winners_DA = (votes_DA == votes_DA.max(axis=1, keepdims=True)) & (votes_DA > 0)
    won_D = winners_DA.sum(axis=1)
    return float(((winners_DA & correct_A).sum(axis=1) / np.maximum(won_D, 1)).mean())
