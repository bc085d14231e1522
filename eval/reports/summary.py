"""The scores of an evaluation, as they stand in passk.json."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.eval.passk import curve_over_problems, macro_average, powers_of_two
from aepo_rllib.eval.reports.curves import curve_json, number_json
from aepo_rllib.eval.reports.diversity_report import diversity_json, macro_diversity_json
from aepo_rllib.eval.reports.outcomes import ProblemOutcome, read_outcomes, table_of, votes_of

GENERATION = ("temperature", "top_p", "top_k", "min_p", "max_gen_toks")


def summarize(results: Mapping[str, Any], ks: Sequence[int] | None = None, *, seed: int = 0) -> dict[str, Any]:
    """Scores of every suite, and macro averages of every group.

    Args:
        results: lm-eval's, samples included.
        ks: Values of k; default the powers of two up to n.
        seed: Of majority votes.

    Returns:
        {"suites": {name: scores}, "groups": {name: scores}} for JSON: undefined numbers are None, keys are strings. The
        scores of a suite: how it was sampled (`n`, `version`, GENERATION), `problems`, `avg@n`, `k` (pass@k: mean, se,
        ci95), `maj` (maj@k), `diversity` (see `diversity_json`), rates of what went wrong, mean `tokens`, and the same
        by family (`families`) and, where problems name one, by level (`levels`).
    """
    outcomes = read_outcomes(results)
    suites = {name: _suite(results, name, rows, ks, seed) for name, rows in outcomes.items()}
    members = {name: _leaves(name, results["group_subtasks"]) for name in results.get("groups", {})}
    return {
        "suites": suites,
        "groups": {
            name: _group([outcomes[leaf] for leaf in leaves], leaves, suites) for name, leaves in members.items()
        },
    }


def _suite(
    results: Mapping[str, Any], name: str, outcomes: Sequence[ProblemOutcome], ks: Sequence[int] | None, seed: int
) -> dict[str, Any]:
    config = results["configs"][name]
    n = int(config.get("repeats", 1))
    kwargs = config.get("generation_kwargs") or {}
    wanted = tuple(ks or powers_of_two(n))
    votes_PK = votes_of(outcomes, wanted, seed=seed)

    def scores_by(names: Sequence[str]) -> dict[str, Any]:
        parts = {name: [place for place, own in enumerate(names) if own == name] for name in sorted_names(names)}
        return {
            name: _scores([outcomes[place] for place in places], votes_PK[places], n, wanted)
            for name, places in parts.items()
        }

    levels = scores_by([outcome.level for outcome in outcomes])
    return {
        "version": str(results["versions"][name]),
        "n": n,
        **{key: kwargs[key] for key in GENERATION if key in kwargs},
        **_scores(outcomes, votes_PK, n, wanted),
        "families": scores_by([outcome.family for outcome in outcomes]),
        **({"levels": levels} if levels else {}),
    }


def sorted_names(names: Iterable[str]) -> list[str]:
    """Each once, without "": numbers by value, then words."""

    def order(name: str) -> tuple[bool, float, str]:
        try:
            return False, float(name), name
        except ValueError:
            return True, 0.0, name

    return sorted(set(names) - {""}, key=order)


def _scores(outcomes: Sequence[ProblemOutcome], votes_PK: np.ndarray, n: int, ks: Sequence[int]) -> dict[str, Any]:
    table_PK = table_of(outcomes, ks)
    drawn = sum(outcome.n for outcome in outcomes)
    average = [outcome.correct / outcome.n if outcome.n == n else math.nan for outcome in outcomes]
    truncated = [outcome.truncated for outcome in outcomes if outcome.truncated is not None]
    tokens = [outcome.tokens for outcome in outcomes if outcome.tokens is not None]
    return {
        "problems": len(outcomes),
        "missing": n * len(outcomes) - drawn,
        "avg@n": number_json(float(np.mean(average))),
        "k": curve_json(curve_over_problems(table_PK, ks)),
        "maj": {str(k): number_json(value) for k, value in zip(ks, np.mean(votes_PK, axis=0), strict=True)},
        "diversity": diversity_json([outcome.tally for outcome in outcomes], ks),
        "no_answer": _rate(outcomes, drawn, Verdict.NO_ANSWER),
        "truncated": sum(truncated) / drawn if drawn and len(truncated) == len(outcomes) else None,
        "timed_out": _rate(outcomes, drawn, Verdict.TIMED_OUT),
        "grader_crashed": _rate(outcomes, drawn, Verdict.CRASHED),
        "tokens": float(np.mean(tokens)) if len(tokens) == len(outcomes) else None,
    }


def _group(
    outcomes: Sequence[Sequence[ProblemOutcome]], names: Sequence[str], suites: Mapping[str, Any]
) -> dict[str, Any]:
    """Macro averages, for the values of k that all suites have."""
    ks = [k for k in suites[names[0]]["k"] if all(k in suites[name]["k"] for name in names)]
    numbers = [int(k) for k in ks]
    maj_SK = [[_nan(suites[name]["maj"][k]) for k in ks] for name in names]
    return {
        "suites": list(names),
        "problems": sum(map(len, outcomes)),
        "avg@n": number_json(float(np.mean([_nan(suites[name]["avg@n"]) for name in names]))),
        "k": curve_json(macro_average([table_of(rows, numbers) for rows in outcomes], numbers)),
        "maj": {k: number_json(value) for k, value in zip(ks, np.mean(maj_SK, axis=0), strict=True)},
        "diversity": macro_diversity_json([[outcome.tally for outcome in rows] for rows in outcomes], numbers),
        **{rate: _mean(suites[name][rate] for name in names) for rate in ("no_answer", "truncated", "timed_out")},
    }


def _leaves(name: str, subtasks: Mapping[str, Sequence[str]]) -> list[str]:
    """The suites of a group."""
    return [leaf for child in subtasks[name] for leaf in (_leaves(child, subtasks) if child in subtasks else [child])]


def _rate(outcomes: Sequence[ProblemOutcome], drawn: int, verdict: Verdict) -> float | None:
    """Share of all samples with this verdict."""
    return sum(outcome.verdicts.count(verdict.value) for outcome in outcomes) / drawn if drawn else None


def _mean(values: Any) -> float | None:
    known = list(values)
    return None if None in known else float(np.mean(known))


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
