"""Maths problems as gymnasium text environments, one at a time or a whole batch at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector.utils import batch_space

from aepo_rllib.envs.env_arguments import check_env_arguments, check_verifiers
from aepo_rllib.envs.grading import Grade, Grader
from aepo_rllib.envs.grading.ahead import BegunSteps
from aepo_rllib.envs.problems import Problem, load_problems
from aepo_rllib.envs.prompts import get_template
from aepo_rllib.envs.spaces import AnyText
from aepo_rllib.envs.verdict import Verdict

ENV_ID = "aepo/MathText-v0"
GRADER_ERROR = "grader_error"
"""Key of `info`: what a reward function of the user's raised; empty where it did its work."""
PROBLEM_INDEX = "problem_index"
"""Reset option that chooses the problem: an index into the problem set (one per sub-environment when vectorised)."""

OBSERVATION_SPACE = AnyText()
ACTION_SPACE = AnyText()


@lru_cache(maxsize=1)
def shared_grader(workers: int = 2, deadline_s: float = 3.0) -> Grader:
    """One grader a process: its worker processes serve every environment in it."""
    return Grader(workers, deadline_s)


class MathTextEnv(gymnasium.Env[str, str]):
    """Solve one maths problem in one step.

    ## Action space
    `AnyText`: the completion, whole.

    ## Observation space
    `AnyText`: the problem in its prompt template; empty after the step.

    ## Rewards
    1.0 for a correct final answer, else 0.0; or what a reward function of the user's own gives. `info["verdict"]`
    tells a wrong answer from none, and both from a grader that timed out or crashed. The final answer is read in the
    form that the template asks for, the last `\\boxed{...}` where it asks for none.

    ## Starting state
    A problem drawn by the environment's seed, or `reset(options={"problem_index": i})`.

    ## Episode end
    Terminated after one step. Truncation of a completion is the sampler's to know.

    ## Arguments
    problems: a source or a mix of them, see `aepo_rllib.envs.problems.load_problems`. split, fields, problem_seed,
    drop_conflicts, held_out, verifier: passed to it; the verifier may be `module:function` or
    `path/to/file.py:function`, see docs/grading.md.
    template: name of a prompt template. answer_form: how the final answer is read, by default as the template asks.
    grader_workers, grader_deadline_s: of the grading service. ValueError names an argument that cannot be used.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 - gymnasium's own convention

    def __init__(
        self,
        problems: str | Mapping[str, int] = "arithmetic",
        split: str = "train",
        fields: Mapping[str, str] | None = None,
        problem_seed: int = 0,
        drop_conflicts: bool = False,
        held_out: float = 0.0,
        verifier: str | None = None,
        template: str = "plain",
        answer_form: str | None = None,
        grader_workers: int = 2,
        grader_deadline_s: float = 3.0,
        render_mode: str | None = None,
    ) -> None:
        self.answer_form = check_env_arguments(
            template=template,
            answer_form=answer_form,
            verifier=verifier,
            grader_workers=grader_workers,
            grader_deadline_s=grader_deadline_s,
        )
        self.problems = load_problems(
            problems,
            split=split,
            fields=fields,
            seed=problem_seed,
            drop_conflicts=drop_conflicts,
            held_out=held_out,
            verifier=verifier,
        )
        check_verifiers(self.problems, self.answer_form, template)
        self.template = get_template(template)
        self.grader = shared_grader(grader_workers, grader_deadline_s)
        self.render_mode = render_mode
        self.observation_space = AnyText()
        self.action_space = AnyText()
        self._problem: Problem | None = None
        self._last: tuple[str, Grade] | None = None
        self._begun = BegunSteps()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Choose a problem and show it."""
        super().reset(seed=seed)
        index = choose_problem(options, len(self.problems), self.np_random)
        self._problem, self._last = self.problems[index], None
        self._begun.clear()
        return self.template.render(self._problem.text), problem_info(self._problem)

    def expect(self, action: str) -> None:
        """Begin to grade what the next step will be; not needed, and nothing is lost where the step is another."""
        if self._problem is None:
            raise gymnasium.error.ResetNeeded("call reset() first")
        self._begun[0] = self.grader.begin(self._problem, action, form=self.answer_form)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Grade a completion."""
        if self._problem is None:
            raise gymnasium.error.ResetNeeded("call reset() first")
        [grade] = self._begun.grades(self.grader, [self._problem], [action], self.answer_form)
        self._last = action, grade
        info = problem_info(self._problem) | grade_info(grade)
        return "", grade.reward, True, False, info

    def render(self) -> str | None:
        """The problem, and after a step the completion and its verdict."""
        if self.render_mode is None or self._problem is None:
            return None
        if self._last is None:
            return self._problem.text
        completion, grade = self._last
        return f"{self._problem.text}\n{completion}\n[{grade.verdict.value}]"


class MathTextVectorEnv(gymnasium.vector.VectorEnv[tuple[str, ...], Sequence[str], np.ndarray]):
    """`num_envs` problems side by side, all graded in one call.

    Arguments are those of `MathTextEnv`; `reset(options={"problem_index": [...]})` takes one index per
    sub-environment. Every step ends all episodes; `reset` starts the next ones.
    """

    metadata: dict[str, Any] = {"autoreset_mode": gymnasium.vector.AutoresetMode.DISABLED}  # noqa: RUF012

    def __init__(self, num_envs: int = 1, **kwargs: Any) -> None:
        self.num_envs = num_envs
        self._single = MathTextEnv(**kwargs)
        self.problems, self.template = self._single.problems, self._single.template
        self.single_observation_space = self._single.observation_space
        self.single_action_space = self._single.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._current: list[Problem] = []
        self._begun = BegunSteps()

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Choose and show `num_envs` problems."""
        super().reset(seed=seed if not isinstance(seed, list) else seed[0], options=options)
        chosen = (options or {}).get(PROBLEM_INDEX)
        if chosen is None:
            chosen = self.np_random.integers(len(self.problems), size=self.num_envs)
        if len(chosen) != self.num_envs:
            raise ValueError(f"{PROBLEM_INDEX} names {len(chosen)} problems for {self.num_envs} environments")
        self._begun.clear()
        self._current = [self.problems[check_index(index, len(self.problems))] for index in chosen]
        observations = tuple(self.template.render(problem.text) for problem in self._current)
        return observations, self._vector_infos([problem_info(problem) for problem in self._current])

    def expect(self, place: int, action: str) -> None:
        """Begin to grade what the next step of a sub-environment will be, see `MathTextEnv.expect`."""
        if not self._current:
            raise gymnasium.error.ResetNeeded("call reset() first")
        form = self._single.answer_form
        self._begun[place] = self.grader.begin(self._current[place], action, form=form)

    def step(
        self, actions: Sequence[str]
    ) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Grade one completion per sub-environment."""
        if not self._current:
            raise gymnasium.error.ResetNeeded("call reset() first")
        grades = self._begun.grades(self.grader, self._current, list(actions), self._single.answer_form)
        rewards = np.array([grade.reward for grade in grades])
        infos = [
            problem_info(problem) | grade_info(grade) for problem, grade in zip(self._current, grades, strict=True)
        ]
        done = np.ones(self.num_envs, dtype=bool)
        return ("",) * self.num_envs, rewards, done, np.zeros_like(done), self._vector_infos(infos)

    @property
    def grader(self) -> Grader:
        """The grading service in use."""
        return self._single.grader

    def self_test(self) -> None:
        """Have the verifier judge answers of known verdict; asked after every training step.

        Raises:
            aepo_rllib.envs.grading.GraderBroken: it got one wrong.
        """
        self.grader.self_test()

    def _vector_infos(self, infos: list[dict[str, Any]]) -> dict[str, Any]:
        """Gymnasium's form: one object array per key, and a mask beside it."""
        present = np.ones(len(infos), dtype=bool)
        vector: dict[str, Any] = {}
        for key in infos[0]:
            vector[key] = np.array([None] * len(infos), dtype=object)
            for place, info in enumerate(infos):  # one by one: numpy would make rows of tuples
                vector[key][place] = info[key]
            vector[f"_{key}"] = present
        return vector


def check_index(index: Any, count: int) -> int:
    """A problem index inside the set.

    Raises:
        ValueError: it is not.
    """
    if not 0 <= int(index) < count:
        raise ValueError(f"{PROBLEM_INDEX} {index} is outside the problem set of {count}")
    return int(index)


def choose_problem(options: dict[str, Any] | None, count: int, rng: np.random.Generator) -> int:
    """The index asked for in reset options, or a random one."""
    if options and PROBLEM_INDEX in options:
        return check_index(options[PROBLEM_INDEX], count)
    return int(rng.integers(count))


def problem_info(problem: Problem) -> dict[str, Any]:
    """What `info` says of a problem."""
    return {"problem_id": problem.id, "family": problem.family, "gold": problem.answer, "turns": problem.turns}


def grade_info(grade: Grade) -> dict[str, Any]:
    """What `info` says of a graded completion; the answer is empty when there is none."""
    return {"verdict": Verdict(grade.verdict).value, "answer": grade.answer or "", GRADER_ERROR: grade.error}
