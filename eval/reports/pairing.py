"""Whether evaluations can be compared, and what is not the same in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aepo_rllib.eval.reports.evaluations import Evaluation

SAME = ("temperature", "top_p", "max_gen_toks")
"""Settings whose difference is worth a word: they move scores."""
OWN = "the suite's own"


class Fewest(NamedTuple):
    """The problem with the fewest samples."""

    n: int
    problem: str
    evaluation: str

    def __str__(self) -> str:
        return f"problem {self.problem!r} in {self.evaluation}"


def fewest_samples(suite: str, evaluations: Sequence[Evaluation]) -> Fewest:
    """Where pass@k stops to be defined.

    Raises:
        ValueError: a problem has no samples at all.
    """
    fewest = min(
        Fewest(n, problem, evaluation.name)
        for evaluation in evaluations
        for problem, (n, _) in evaluation.counts[suite].items()
    )
    if not fewest.n:
        raise ValueError(f"{suite}: {fewest} has no samples; the same `aepo eval` draws them")
    return fewest


def check_same_problems(suite: str, first: Evaluation, other: Evaluation) -> None:
    """Refuse evaluations whose scores are not of the same thing.

    Raises:
        ValueError: other versions, problems or grading rules.
    """
    versions = [evaluation.summary["suites"][suite]["version"] for evaluation in (first, other)]
    rules = [evaluation.summary.get("grading_rules", 1) for evaluation in (first, other)]
    for what, values in (("version", versions), ("grading rules", rules)):
        if values[0] != values[1]:
            raise ValueError(
                f"{suite}: {what} {values[0]} in {first.name}, {values[1]} in {other.name}; `aepo regrade` judges "
                "stored samples anew"
            )
    for here, there in ((first, other), (other, first)):
        if alone := [problem for problem in here.counts[suite] if problem not in there.counts[suite]]:
            raise ValueError(
                f"{suite}: {first.name} and {other.name} hold different problems: {len(alone)} are in {here.name} "
                f"only, such as {alone[0]!r}"
            )
    digests = [evaluation.summary["evaluation"]["problems"][suite] for evaluation in (first, other)]
    if digests[0] != digests[1]:
        theirs = other.digests[suite]
        changed = [problem for problem, digest in first.digests[suite].items() if digest != theirs[problem]]
        such = f", such as {changed[0]!r}" if changed else ""
        raise ValueError(
            f"{suite}: problems of {first.name} and {other.name} have the same ids but other contents{such}"
        )


def differing_settings(suite: str, first: Evaluation, other: Evaluation) -> list[str]:
    """A sentence for every setting that moves scores and is not the same."""
    suites = [evaluation.summary["suites"][suite] for evaluation in (first, other)]
    plans = [evaluation.summary["evaluation"] for evaluation in (first, other)]
    pairs = [(name, suites[0].get(name), suites[1].get(name)) for name in SAME]
    pairs.append(("grader", plans[0]["grader"] or OWN, plans[1]["grader"] or OWN))
    judges = [", ".join(one.get("judged_by", ())) for one in suites]
    if all(judges):  # older reports do not say
        pairs.append(("judged by", judges[0], judges[1]))
    notes = [f"{name}: {mine} in {first.name}, {its} in {other.name}" for name, mine, its in pairs if mine != its]
    prompts = [plan.get("first_prompts", {}).get(suite) for plan in plans]
    if prompts[0] != prompts[1] or None in prompts:  # the same prompt may come of templates with two names
        templates = [plan["template"] or OWN for plan in plans]
        if templates[0] != templates[1]:
            notes.append(f"template: {templates[0]} in {first.name}, {templates[1]} in {other.name}")
        elif prompts[0] != prompts[1]:
            notes.append(f"{first.name} and {other.name} read other prompts: see first_prompts in passk.json")
    return notes
