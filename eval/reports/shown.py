"""Which samples of an evaluation are put on its page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.eval.data import turns_of
from aepo_rllib.eval.passk import FEW_PROBLEMS, FEW_PROBLEMS_NOTE
from aepo_rllib.eval.reports.browser import ShownProblem, ShownSample, ShownSuite
from aepo_rllib.eval.reports.outcomes import ProblemOutcome
from aepo_rllib.eval.sampling.lazy_texts import MissingSample, texts_of

SHOWN_OF_A_KIND = 4
"""So many correct samples of a problem, and so many others."""
MAX_SHOWN_CHARS = 20_000
"""A longer text is cut: the page has to open."""


def shown_suites(
    results: Mapping[str, Any], outcomes: Mapping[str, Sequence[ProblemOutcome]], summary: Mapping[str, Any]
) -> list[ShownSuite]:
    """Every problem with a few of its samples, correct and not.

    Args:
        results: lm-eval's, samples included.
        outcomes: Read from them.
        summary: The content of passk.json.
    """
    return [
        ShownSuite(
            name=suite,
            title=_title(summary["suites"][suite]),
            problems=[
                _problem(
                    row,
                    outcome,
                    *_frame(results["samples"][suite], summary["evaluation"]["first_prompts"].get(suite, "")),
                )
                for row, outcome in zip(results["samples"][suite], rows, strict=True)
            ],
        )
        for suite, rows in outcomes.items()
    ]


def _title(scores: Mapping[str, Any]) -> str:
    sampled = f"n = {scores['n']} at temperature {scores.get('temperature')}"
    k, paths = list(scores["diversity"]["correct_paths"].items())[-1]
    if paths["mean"] is not None:
        sampled += f"; {paths['mean']:.2f} different correct paths among {k} samples of a problem"
    return sampled if scores["problems"] >= FEW_PROBLEMS else f"{sampled}; {FEW_PROBLEMS_NOTE}"


def _frame(rows: Sequence[Mapping[str, Any]], first_prompt: str) -> tuple[str, str]:
    """What stands before and after a task's text in what the model reads; the same for all prompts of a suite.

    Not where every problem may have a chat of its own before it: then that is shown turn by turn.
    """
    text = _asked(rows[0])
    if not text or text not in first_prompt or any(turns_of(row["doc"]) for row in rows):
        return "", ""
    head, _, tail = first_prompt.partition(text)
    return head, tail


def _asked(row: Mapping[str, Any]) -> str:
    return row["arguments"][0][0]


def _problem(row: Mapping[str, Any], outcome: ProblemOutcome, head: str, tail: str) -> ShownProblem:
    chosen = _choose(outcome)
    (drawn,) = [[sample for sample in samples if not isinstance(sample, MissingSample)] for samples in row["resps"]]
    texts = texts_of(drawn[number] for number in chosen)
    return ShownProblem(
        id=outcome.id,
        family=outcome.family,
        problem=row["doc"]["problem"],
        prompt="".join(f"[{role}] {content}\n" for role, content in turns_of(row["doc"])) + head + _asked(row) + tail,
        gold=row["doc"]["answer"],
        n=outcome.n,
        correct=outcome.correct,
        verdicts=Counter(outcome.verdicts),
        samples=[
            ShownSample(
                number=number,
                text=text if len(text) <= MAX_SHOWN_CHARS else text[:MAX_SHOWN_CHARS] + "\n[cut here]",
                answer=outcome.answers[number],
                verdict=outcome.verdicts[number],
                truncated=getattr(drawn[number], "truncated", None),
                tokens=getattr(drawn[number], "tokens", None),
            )
            for number, text in zip(chosen, texts, strict=True)
        ],
    )


def _choose(outcome: ProblemOutcome) -> list[int]:
    """The first few correct samples, and the first few others, in order."""
    right = [number for number, verdict in enumerate(outcome.verdicts) if verdict == Verdict.CORRECT.value]
    other = [number for number, verdict in enumerate(outcome.verdicts) if verdict != Verdict.CORRECT.value]
    return sorted(right[:SHOWN_OF_A_KIND] + other[:SHOWN_OF_A_KIND])
