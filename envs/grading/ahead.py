"""Grading while others are still being sampled: in a thread of its own, whatever has come meanwhile together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from aepo_rllib.envs.grading.service import Grade, Grader
    from aepo_rllib.envs.problems.problem import Problem


class Asked(NamedTuple):
    """A completion that waits for its grade."""

    problem: Problem
    completion: str
    form: str
    grade: Future[Grade]


class Ahead:
    """Hands completions on as they come. Its thread lives for as long as there is something to grade.

    Args:
        grade_batch: Grades completions of one answer form, as `Grader.grade_batch` does.
    """

    def __init__(self, grade_batch: Callable[[Sequence[Problem], Iterable[str], str], Sequence[Grade]]) -> None:
        self._grade_batch = grade_batch
        self._lock = threading.Lock()
        self._waiting: list[Asked] = []
        self._at_work = False

    def submit(self, problem: Problem, completion: str, form: str) -> Future[Grade]:
        """The grade, once it is there; or what grading has raised."""
        asked = Asked(problem, completion, form, Future())
        with self._lock:
            self._waiting.append(asked)
            if not self._at_work:
                self._at_work = True
                threading.Thread(target=self._work, name="grading", daemon=True).start()
        return asked.grade

    def _work(self) -> None:
        while True:
            with self._lock:
                batch, self._waiting = self._waiting, []
                if not batch:
                    self._at_work = False
                    return
            for form in dict.fromkeys(asked.form for asked in batch):
                self._grade([asked for asked in batch if asked.form == form], form)

    def _grade(self, batch: Sequence[Asked], form: str) -> None:
        try:
            texts = (asked.completion for asked in batch)
            grades = self._grade_batch([asked.problem for asked in batch], texts, form)
        except BaseException as error:  # whoever asked is told
            for asked in batch:
                asked.grade.set_exception(error)
        else:
            for asked, grade in zip(batch, grades, strict=True):
                asked.grade.set_result(grade)


class Begun(dict[int, tuple[str, "Future[Grade]"]]):
    """Grades that were begun before their step: by environment, of which text."""

    def grades(self, grader: Grader, problems: Sequence[Problem], actions: Sequence[str], form: str) -> list[Grade]:
        """A grade of every action; those that were not begun are graded now."""
        begun = {place: future for place, (text, future) in self.items() if text == actions[place]}
        self.clear()
        left = [place for place in range(len(actions)) if place not in begun]
        now = grader.grade_batch([problems[place] for place in left], [actions[place] for place in left], form=form)
        found = dict(zip(left, now, strict=True)) | {place: future.result() for place, future in begun.items()}
        return [found[place] for place in range(len(actions))]
