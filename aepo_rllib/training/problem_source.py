"""`ProblemSource`: which problems an environment of a config gets."""

from __future__ import annotations

from typing import Any

from aepo_rllib.envs.env_arguments import problems_of
from aepo_rllib.envs.problems import ProblemSet, is_procedural
from aepo_rllib.envs.text_env import ENV_ID
from aepo_rllib.experience.curriculum import Curriculum

DEFAULT_PROBLEMS = {"problems": "arithmetic"}


class ProblemSource:
    """Mixed into a config, whose attributes these are."""

    env: Any
    env_config: dict[str, Any]
    in_evaluation: bool
    evaluation_config: Any
    evaluation_interval: int | None
    validation_problems: str | None
    validation_share: float
    curriculum_steps: int | None

    def text_env_kwargs(self) -> dict[str, Any]:
        """Arguments of the environment; an evaluation runner gets validation problems.

        An environment of the user's gets what `env_config` says, but for `template`: it names the frame around prompts.
        """
        if self.env != ENV_ID:
            return {name: value for name, value in self.env_config.items() if name != "template"}
        kwargs = DEFAULT_PROBLEMS | self.env_config
        if self.holds_out():
            kwargs = {"held_out": self.validation_share, **kwargs}
        if self.in_evaluation:
            kwargs["problems"] = self.validation_problems or kwargs["problems"]
            kwargs["split"] = "validation"
        return kwargs

    def holds_out(self) -> bool:
        """Whether some of the problems are held out for evaluation."""
        wanted = bool(self.evaluation_interval) and self.validation_problems is None and self.validation_share > 0
        return wanted and self.env == ENV_ID and not is_procedural((DEFAULT_PROBLEMS | self.env_config)["problems"])

    def evaluates_training_problems(self) -> bool:
        """Whether an environment of the user's is the same in evaluation, as far as the config tells."""
        own = {"env", "env_config"} & set(self.evaluation_config or {})
        return bool(self.evaluation_interval) and self.env != ENV_ID and not own

    def curriculum(self) -> Curriculum | None:
        """When the levels of the training problems join; None where all are there from the first step.

        Raises:
            ValueError: there are not several levels, or the environment draws its problems itself.
        """
        if self.curriculum_steps is None:
            return None
        if self.env != ENV_ID:
            raise ValueError(f"curriculum_steps={self.curriculum_steps}: env={self.env!r} draws its problems itself")
        return Curriculum([problem.level for problem in self.load_problems()], self.curriculum_steps)

    def load_problems(self, **instead: Any) -> ProblemSet:
        """The problems that an env runner of this config gets; `instead` replaces arguments of the environment.

        Raises:
            ProblemError: they cannot be used; names the source, and file and line of a malformed row.
        """
        return problems_of(self.text_env_kwargs() | instead)
