"""What an arm keeps of the base model, and what that costs: in words, each with its figure."""

from __future__ import annotations

import math

from aepo_rllib.study.intervals import Interval
from aepo_rllib.study.study import BASE_ARM
from aepo_rllib.study.summary import Summary, mean
from aepo_rllib.study.views import View


def kept(summary: Summary, view: View) -> str:
    """Two sentences for every trained arm but the reference: what it keeps, and what it costs."""
    reference = summary.study.reference
    if reference not in summary.arms:
        return ""
    arms = [arm for arm in view.arms if arm in summary.arms and arm != reference]
    return "\n".join(f"* {line}" for arm in arms for line in (_keeps(summary, arm), _costs(summary, arm)))


def _keeps(summary: Summary, arm: str) -> str:
    reference = str(summary.study.reference)
    ends, other, base = (
        mean(values)
        for values in (summary.values(arm, "final"), summary.values(reference, "final"), summary.values(arm, "base"))
    )
    line = f"**What {arm} keeps:** it ends at {ends:.3f} nats of entropy per token, {reference} at {other:.3f}"
    line += "" if math.isnan(base) else f" (the base model has {base:.3f})"
    largest = max(summary.ks, default=0)
    difference = _difference(summary, arm, largest)
    if difference is None:
        return f"{line}."
    tries = f"{_score(summary, arm, largest)} of the problems are solved within {largest} tries"
    others = [f"{_score(summary, reference, largest)} after {reference}"]
    if BASE_ARM in summary.evaluated:
        others.append(f"{_score(summary, BASE_ARM, largest)} by the base model")
    return f"{line}; {tries}, {', '.join(others)}: {_words(difference)}."


def _costs(summary: Summary, arm: str) -> str:
    reference = str(summary.study.reference)
    own, other = mean(summary.values(arm, "reward")), mean(summary.values(reference, "reward"))
    line = (
        f"**What it costs:** a mean reward of {own:.3f} in the second half of training, {reference}'s is {other:.3f} "
        f"({own - other:+.3f})"
    )
    difference = _difference(summary, arm, 1)
    if difference is None:
        return f"{line}."
    own_1, other_1 = _score(summary, arm, 1), _score(summary, reference, 1)
    return f"{line}; {own_1} of the first tries are right, {reference}'s {other_1}: {_words(difference)}."


def _difference(summary: Summary, arm: str, k: int) -> Interval | None:
    found = summary.pass_at_k_minus(arm, summary.study.reference)
    return None if found is None else found[summary.ks.index(k)]


def _score(summary: Summary, arm: str, k: int) -> str:
    return f"{100 * summary.pass_at_k(arm)[summary.ks.index(k)].mean:.1f} %"


def _words(difference: Interval) -> str:
    """Minus the reference, in points of a hundred, with its interval, and whether that tells it from nothing."""
    points, low, high = (100 * value for value in difference)
    told = "" if low > 0 or high < 0 else ", which may be noise"
    return f"{points:+.1f} points [{low:+.1f}, {high:+.1f}]{told}"
