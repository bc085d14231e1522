"""Grading while others are still being sampled: in a thread of its own, whatever has come meanwhile together."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aepo_rllib.envs.grading.service import Grade, Grader
    from aepo_rllib.envs.problems.problem import Problem


@dataclass(frozen=True, eq=False)
class Begun:
    """A completion whose grade has been asked for.

    Attributes:
        grader: Whose it will be.
        problem: What it answers.
        completion: Its text.
        form: In which answers are stated.
    """

    grader: Grader
    problem: Problem
    completion: str
    form: str
    _grade: Future[Grade] = field(default_factory=Future)

    def result(self) -> Grade:
        """The grade, as soon as it is there; or what grading has raised."""
        if not self._grade.done():
            self.grader.ahead.take_all()
        return self._grade.result()

    def settle(self, grade: Grade | BaseException) -> None:
        """Give it its grade, or what was raised instead."""
        if isinstance(grade, BaseException):
            self._grade.set_exception(grade)
        else:
            self._grade.set_result(grade)


class Ahead:
    """Grades completions as they come; its thread lives for as long as there is something to grade.

    They are taken in portions, each of which is one call of `Grader.grade_batch`. A portion has one for every worker,
    or two, or more: all others would wait for the reward of a single one, however many workers there are.

    Args:
        portion: The least that is taken, unless somebody waits for a grade.
    """

    def __init__(self, portion: int) -> None:
        self._portion = portion
        self._lock = threading.Lock()
        self._waiting: list[Begun] = []
        self._at_work = self._hurried = False

    def submit(self, begun: Begun) -> None:
        """Grade one, sooner or later."""
        with self._lock:
            self._waiting.append(begun)
        with contextlib.suppress(RuntimeError):  # no further thread: whoever asks for the grade is told
            self._start()

    def take_all(self) -> None:
        """Take what waits, few or many: somebody asks for a grade.

        Raises:
            RuntimeError: there can be no further thread.
        """
        with self._lock:
            self._hurried = bool(self._waiting)
        self._start()

    def drop(self, dropped: Iterable[Begun]) -> None:
        """Forget some whose grade nobody will ask for, as far as they still wait."""
        ids = {*map(id, dropped)}
        with self._lock:
            self._waiting = [begun for begun in self._waiting if id(begun) not in ids]

    def close(self) -> None:
        """Forget all that wait; who asks for their grades is told so."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for begun in waiting:
            begun.settle(RuntimeError("the grader was closed before this completion was graded"))

    def _start(self) -> None:
        with self._lock:
            if not self._at_work and self._is_due():
                thread = threading.Thread(target=self._work, name="grading", daemon=True)
                thread.start()
                self._at_work = True

    def _is_due(self) -> bool:
        return len(self._waiting) >= (1 if self._hurried else self._portion)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._is_due():
                    self._at_work = self._hurried = False
                    return
                count = len(self._waiting)
                count -= 0 if self._hurried else count % self._portion
                batch, self._waiting = self._waiting[:count], self._waiting[count:]
            for form in dict.fromkeys(begun.form for begun in batch):
                _grade([begun for begun in batch if begun.form == form], form)


def _grade(batch: Sequence[Begun], form: str) -> None:
    grades: Sequence[Grade | BaseException]
    try:
        problems, texts = [begun.problem for begun in batch], [begun.completion for begun in batch]
        grades = batch[0].grader.grade_batch(problems, texts, form=form)
    except BaseException as error:  # whoever asked is told
        grades = [error] * len(batch)
    for begun, grade in zip(batch, grades, strict=True):
        begun.settle(grade)


class BegunSteps(dict[int, Begun]):
    """What was begun before its step, by environment."""

    def grades(self, grader: Grader, problems: Sequence[Problem], actions: Sequence[str], form: str) -> list[Grade]:
        """A grade of every action; those that were not begun, or with another text, are graded now."""
        begun = {place: each for place, each in self.items() if each.completion == actions[place]}
        grader.ahead.drop([each for place, each in self.items() if place not in begun])
        super().clear()
        left = [place for place in range(len(actions)) if place not in begun]
        now = grader.grade_batch([problems[place] for place in left], [actions[place] for place in left], form=form)
        found = dict(zip(left, now, strict=True)) | {place: each.result() for place, each in begun.items()}
        return [found[place] for place in range(len(actions))]

    def clear(self) -> None:
        """Nobody will ask for them."""
        for begun in [*self.values()][:1]:  # all are of one grader
            begun.grader.ahead.drop(self.values())
        super().clear()
