"""From completions to verdicts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import NamedTuple

from aepo_rllib.envs.grading.ahead import Ahead, Begun
from aepo_rllib.envs.grading.literals import as_rational
from aepo_rllib.envs.grading.pool import WorkerPool
from aepo_rllib.envs.grading.process import WORKER_COMMAND, Comparison, RewardCall
from aepo_rllib.envs.grading.rewards import KNOWN_REWARD
from aepo_rllib.envs.grading.round import Outcome
from aepo_rllib.envs.grading.verifiers import SPELLED, Verifier, verifier_of
from aepo_rllib.envs.problems.problem import Problem
from aepo_rllib.envs.prompts import DEFAULT_FORM
from aepo_rllib.envs.verdict import Verdict

MAX_REPORTED = 20
"""Errors of reward functions that are logged."""
MAX_DETOUR_CHARS = 300
"""An answer that is longer than the known one by more than this is no other way to write it.

Algebra takes seconds for such a text, and a policy that fills its boxes with prose writes a new one each time. A long
known answer may still be met by a long answer.
"""


logger = logging.getLogger(__name__)


class Grade(NamedTuple):
    """What grading one completion found."""

    verdict: Verdict
    answer: str | None
    """The final answer as the completion states it; None when it states none."""
    own_reward: float | None = None
    """What a reward function of the user's gives."""
    error: str = ""
    """What it raised."""

    @property
    def reward(self) -> float:
        """The verdict's reward, 1 for a correct answer and 0 for any other, or the user's own."""
        return self.verdict.reward if self.own_reward is None else self.own_reward


class GraderBroken(RuntimeError):
    """The grader misjudged an answer that it must get right, so no reward it gives can be trusted."""


class Grader:
    """Grades completions against their problems. Safe in threads, Ray actors, notebooks and plain scripts.

    Cheap verdicts (Countdown, integers, equal spellings) are reached here; anything else goes to worker
    processes, which start when first needed and end with `close`, with the `with` block, or with the program. Reward
    functions of the user's own have worker processes of their own.

    Args:
        workers: Number of worker processes.
        deadline_s: Seconds one comparison may take; one that takes longer is tried once more, alone.
        command: What starts a worker, see `aepo_rllib.envs.grading.worker`.
    """

    def __init__(self, workers: int = 2, deadline_s: float = 3.0, *, command: Sequence[str] = WORKER_COMMAND) -> None:
        self.pool = WorkerPool(workers, deadline_s, command=command)
        self.reward_pool = WorkerPool(workers, deadline_s, command=command, rules=[KNOWN_REWARD])
        self._reported: set[str] = set()
        self.ahead = Ahead(portion=self.pool.size)

    def grade(self, problem: Problem, completion: str, *, form: str = DEFAULT_FORM) -> Grade:
        """The grade of one completion. `grade_batch` is faster for several."""
        return self.grade_batch([problem], [completion], form=form)[0]

    def grade_batch(
        self, problems: Sequence[Problem], completions: Iterable[str], *, form: str = DEFAULT_FORM
    ) -> list[Grade]:
        """The grade of each completion as an answer to the problem in the same place.

        Completions are read one by one, and kept only for reward functions of the user's own. Equal pairs of known and
        given answer are compared once.

        Args:
            problems: One per completion.
            completions: Their texts.
            form: In which answers are stated, see `aepo_rllib.envs.grading.answers`.

        Raises:
            ValueError: different lengths, an unknown verifier, or a known answer too long to compare.
            RuntimeError: worker processes do not start.
        """
        verifiers = [verifier_of(problem) for problem in problems]
        answers, calls = [], {}
        texts = iter(completions)
        for place, (problem, verifier, text) in enumerate(zip(problems, verifiers, texts, strict=False)):
            answers.append(verifier.extract(problem, text, form))
            if verifier.judge is None:
                calls[place] = RewardCall(problem, text, verifier.name, form)
        if len(answers) < len(problems) or next(texts, None) is not None:
            raise ValueError(
                f"{len(problems)} problems, but {'fewer' if len(answers) < len(problems) else 'more'} completions"
            )
        rewarded = dict(zip(calls, self._reward(list(calls.values())), strict=True))
        judged = [place for place in range(len(problems)) if place not in rewarded]
        verdicts = self._judge([(verifiers[place], problems[place], answers[place]) for place in judged])
        graded = {place: Grade(verdict, answers[place]) for place, verdict in zip(judged, verdicts, strict=True)}
        for place, outcome in rewarded.items():
            graded[place] = Grade(outcome.verdict, outcome.answer or answers[place], outcome.reward, outcome.error)
        return [graded[place] for place in range(len(problems))]

    def begin(self, problem: Problem, completion: str, *, form: str = DEFAULT_FORM) -> Begun:
        """`begin(...).result()` is what `grade` gives.

        A cheap verdict is reached at once; for the others one thread asks the workers, for all that have come.
        """
        begun, verifier = Begun(self, problem, completion, form), verifier_of(problem)
        if verifier.judge is not None:
            answer = verifier.extract(problem, completion, form)
            if (verdict := at_once(verifier, problem, answer)) is not None:
                begun.settle(Grade(verdict, answer))
                return begun
        self.ahead.submit(begun)
        return begun

    def only_spelled(self, answers: Sequence[str]) -> list[bool]:
        """Which known answers are no mathematics that can be read, so that nothing but their spelling will do."""
        readable = [as_rational(answer) is not None for answer in answers]
        asked = [answer for answer, known in zip(answers, readable, strict=True) if not known]
        verdicts = iter(self.pool.grade([Comparison(answer, "", SPELLED) for answer in asked]))
        return [not known and next(verdicts) is Verdict.CORRECT for known in readable]

    def self_test(self) -> None:
        """Grade answers whose verdict is known, by worker processes too if any are running.

        Of the user's own reward functions nothing is known; their processes are tested with one of ours.

        Raises:
            GraderBroken: a verdict was not the known one.
        """
        for problem, answer, expected in _KNOWN + (_KNOWN_TO_WORKERS if self.pool.started else ()):
            seen = self.grade(problem, rf"\boxed{{{answer}}}").verdict
            if not seen.usable:  # a machine that stands still for a moment is no broken grader
                seen = self.grade(problem, rf"\boxed{{{answer}}}").verdict
            if seen is not expected:
                raise GraderBroken(
                    f"grading {answer!r} against the {problem.verifier} answer {problem.answer!r}: expected "
                    f"{expected.value}, got {seen.value}; rewards since the last check cannot be trusted"
                )

        for completion, known in _KNOWN_REWARDS if self.reward_pool.started else ():
            call = RewardCall(_SEVEN, completion, KNOWN_REWARD)
            (found,) = self.reward_pool.run([call])
            if not found.verdict.usable:
                (found,) = self.reward_pool.run([call])
            if (found.verdict, found.reward) != known:
                raise GraderBroken(
                    f"a reward that is {known[1]} came back as {found.reward} ({found.verdict.value}"
                    f"{found.error and f', {found.error}'}); rewards since the last check cannot be trusted"
                )

    def close(self) -> None:
        """End the worker processes, and forget what was begun and still waits. A later call starts new ones."""
        self.ahead.close()
        self.pool.close()
        self.reward_pool.close()

    def __enter__(self) -> Grader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _reward(self, calls: Sequence[RewardCall]) -> list[Outcome]:
        """What the user's functions give. An error of theirs is logged once."""
        outcomes = self.reward_pool.run(calls)
        for call, outcome in zip(calls, outcomes, strict=True):
            if outcome.error and outcome.error not in self._reported and len(self._reported) < MAX_REPORTED:
                self._reported.add(outcome.error)
                logger.warning("reward function %s, problem %s: %s", call.rule, call.problem.id, outcome.error)
        return outcomes

    def _judge(self, rows: Sequence[tuple[Verifier, Problem, str | None]]) -> list[Verdict]:
        """A verdict on each answer: here where that is cheap, else by a worker."""
        verdicts = [at_once(*row) for row in rows]
        open_questions = {
            Comparison(problem.answer, answer or "", verifier.name): None
            for (verifier, problem, answer), verdict in zip(rows, verdicts, strict=True)
            if verdict is None
        }
        compared = dict(zip(open_questions, self.pool.grade(list(open_questions)), strict=True))
        return [
            compared[Comparison(problem.answer, answer or "", verifier.name)] if verdict is None else verdict
            for (verifier, problem, answer), verdict in zip(rows, verdicts, strict=True)
        ]


def at_once(verifier: Verifier, problem: Problem, answer: str | None) -> Verdict | None:
    """The verdict if it needs no worker process."""
    if answer is None:
        return Verdict.NO_ANSWER
    assert verifier.judge is not None
    equal = verifier.judge(problem, answer)
    if equal is None and len(answer) <= len(problem.answer) + MAX_DETOUR_CHARS:
        return None
    return Verdict.CORRECT if equal else Verdict.WRONG


_SEVEN = Problem(id="known-integer", text="", answer="7")
_SURD = Problem(id="known-algebra", text="", answer=r"\frac{\sqrt{2}}{2}")
_COUNTDOWN = Problem(
    id="known-countdown",
    text="",
    answer="2*3+1",
    verifier="countdown",
    extra={"numbers": (1, 2, 3), "target": 7},
)
_KNOWN = (
    (_SEVEN, "7", Verdict.CORRECT),
    (_SEVEN, "8", Verdict.WRONG),
    (_COUNTDOWN, "1+3*2", Verdict.CORRECT),
    (_COUNTDOWN, "1+2+3", Verdict.WRONG),
)
_KNOWN_REWARDS = (("7", (Verdict.CORRECT, 0.125)), ("1234", (Verdict.WRONG, 0.5)))
_KNOWN_TO_WORKERS = ((_SURD, r"\frac{1}{\sqrt{2}}", Verdict.CORRECT), (_SURD, r"\sqrt{2}", Verdict.WRONG))
