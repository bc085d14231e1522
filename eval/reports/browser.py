"""Samples as a page to browse: one file that needs no server, no network and no trust in what models write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from aepo_rllib.eval.reports.page import data_element, filled, write_whole

DATA_MARK = "<!-- data -->"


@dataclass(frozen=True)
class ShownSample:
    """A completion and what became of it.

    Attributes:
        number: Its place among the problem's samples, from 0.
        text: All of it.
        answer: What was read as its final answer, or "".
        verdict: A value of `aepo_rllib.envs.verdict.Verdict`.
        truncated: Whether it was cut at the token limit, or None where the model does not tell.
        tokens: Its length, or None where that is unknown.
    """

    number: int
    text: str
    answer: str
    verdict: str
    truncated: bool | None
    tokens: int | None


@dataclass(frozen=True)
class ShownProblem:
    """A problem, and all or a few of its samples.

    Attributes:
        id: The problem's, unique in its suite.
        family: Its family, or "".
        problem: Its text.
        prompt: All that the model saw.
        gold: The known answer.
        n: Samples taken.
        correct: How many of those n are correct.
        verdicts: How many of those n had each verdict.
        samples: The ones to show.
    """

    id: str
    family: str
    problem: str
    prompt: str
    gold: str
    n: int
    correct: int
    verdicts: Mapping[str, int]
    samples: Sequence[ShownSample]


@dataclass(frozen=True)
class ShownSuite:
    """A suite's problems.

    Attributes:
        name: The suite's.
        title: How it was sampled, such as "n = 64 at temperature 1.0".
        problems: In the order to list them.
    """

    name: str
    title: str
    problems: Sequence[ShownProblem]


def write_page(suites: Sequence[ShownSuite], file: Path, *, title: str) -> Path:
    """Write the page, replacing an older one only when the new one is complete.

    Args:
        suites: What to show.
        file: The page; its folder is made.
        title: The page's.

    Returns:
        `file`.

    Raises:
        OSError: the file cannot be written.
    """
    return write_whole(_parts(suites, title), file)


def _parts(suites: Sequence[ShownSuite], title: str) -> Iterator[str]:
    template = files("aepo_rllib.eval.reports").joinpath("browser.html").read_text(encoding="utf-8")
    head, tail = filled(template, title).split(DATA_MARK)
    yield head
    yield data_element("index", {"title": title, "suites": [_index(suite) for suite in suites]})
    # Blocks of their own, which the page reads when a problem is chosen.
    for place, suite in enumerate(suites):
        for number, problem in enumerate(suite.problems):
            samples = [vars(sample) for sample in problem.samples]
            yield data_element(f"samples-{place}-{number}", {"prompt": problem.prompt, "samples": samples})
    yield tail


def _index(suite: ShownSuite) -> dict[str, Any]:
    """What the list of problems needs: everything but prompts and samples."""
    problems = [
        {
            "id": problem.id,
            "family": problem.family,
            "problem": problem.problem,
            "gold": problem.gold,
            "n": problem.n,
            "correct": problem.correct,
            "verdicts": dict(problem.verdicts),
        }
        for problem in suite.problems
    ]
    return {"name": suite.name, "title": suite.title, "problems": problems}
