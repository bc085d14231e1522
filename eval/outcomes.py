"""From lm-eval's results to verdicts per problem, and from those to a summary."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.eval.passk import pass_at_k_curve, powers_of_two

GENERATION = ("temperature", "top_p", "top_k", "min_p", "max_gen_toks")


@dataclass(frozen=True)
class ProblemOutcome:
    """What became of one problem's n samples.

    Attributes:
        id: The problem's.
        family: Its family, or "".
        verdicts: One per sample, as values of `Verdict`.
        truncated: Samples cut at the token limit, or None where the model does not tell.
    """

    id: str
    family: str
    verdicts: tuple[str, ...]
    truncated: int | None

    @property
    def correct(self) -> int:
        """Number of correct samples."""
        return self.verdicts.count(Verdict.CORRECT.value)


def read_outcomes(results: Mapping[str, Any]) -> dict[str, list[ProblemOutcome]]:
    """Outcomes of every suite in lm-eval's results, which must hold the samples (`log_samples=True`)."""
    return {suite: [_outcome(sample) for sample in samples] for suite, samples in results["samples"].items()}


def _outcome(sample: Mapping[str, Any]) -> ProblemOutcome:
    (graded,) = sample["filtered_resps"]
    verdicts, _, truncated = zip(*graded, strict=True)
    known = all(flag is not None for flag in truncated)
    return ProblemOutcome(sample["doc"]["id"], sample["doc"]["family"], verdicts, sum(truncated) if known else None)


def summarize(results: Mapping[str, Any], ks: Sequence[int] | None = None, *, seed: int = 0) -> dict[str, Any]:
    """Per suite: how it was sampled, pass@k with intervals overall and by family, and what went wrong how often.

    Args:
        results: lm-eval's, samples included.
        ks: Values of k; default the powers of two up to n.
        seed: Of the bootstrap.

    Returns:
        A dictionary for JSON: undefined numbers are None, keys are strings.
    """
    summary = {}
    for suite, outcomes in read_outcomes(results).items():
        kwargs = results["configs"][suite].get("generation_kwargs", {})
        families = sorted({outcome.family for outcome in outcomes} - {""})
        members = {family: [outcome for outcome in outcomes if outcome.family == family] for family in families}
        summary[suite] = {
            "n": len(outcomes[0].verdicts),
            **{name: kwargs[name] for name in GENERATION if name in kwargs},
            **_scores(outcomes, ks, seed),
            "families": {family: _scores(those, ks, seed) for family, those in members.items()},
        }
    return summary


def _scores(outcomes: Sequence[ProblemOutcome], ks: Sequence[int] | None, seed: int) -> dict[str, Any]:
    n = len(outcomes[0].verdicts)
    curve = pass_at_k_curve(n, [outcome.correct for outcome in outcomes], ks or powers_of_two(n), seed=seed)
    rows = zip(curve.ks, curve.mean, curve.se, curve.low, curve.high, strict=True)
    truncated = [outcome.truncated for outcome in outcomes if outcome.truncated is not None]
    return {
        "problems": len(outcomes),
        "k": {
            str(k): {"mean": float(mean), "se": _number(se), "ci95": _pair(low, high)}
            for k, mean, se, low, high in rows
        },
        "no_answer": _rate(outcomes, Verdict.NO_ANSWER),
        "truncated": sum(truncated) / (n * len(outcomes)) if len(truncated) == len(outcomes) else None,
        "timed_out": _rate(outcomes, Verdict.TIMED_OUT),
        "grader_crashed": _rate(outcomes, Verdict.CRASHED),
    }


def _rate(outcomes: Sequence[ProblemOutcome], verdict: Verdict) -> float:
    """Share of all samples with this verdict."""
    return float(np.mean([outcome.verdicts.count(verdict.value) / len(outcome.verdicts) for outcome in outcomes]))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _pair(low: float, high: float) -> list[float] | None:
    return None if math.isnan(low) else [float(low), float(high)]
