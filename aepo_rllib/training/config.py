"""`TextRLConfig`: what every algorithm on text shares — model, problems, sampling, batches — set and checked."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib import metrics
from aepo_rllib.control.dial_loop import DialLoop
from aepo_rllib.envs.env_arguments import absolute_arguments
from aepo_rllib.envs.text_env import ACTION_SPACE, ENV_ID, OBSERVATION_SPACE, MathTextEnv
from aepo_rllib.learning.learner import CausalLMLearner
from aepo_rllib.learning.learner_group import TextLearnerGroup
from aepo_rllib.learning.rl_module import CausalLMModule
from aepo_rllib.objectives.parts import Method
from aepo_rllib.objectives.trial import check_method
from aepo_rllib.rllib_seam import send_no_connector_states
from aepo_rllib.rollout import check_engine_options
from aepo_rllib.sampling.env_runner import TextEnvRunner
from aepo_rllib.support.arguments import check_arguments
from aepo_rllib.support.options import Idle, Option, check_values
from aepo_rllib.support.plugins import absolute
from aepo_rllib.training.algorithm_of import AlgorithmOf
from aepo_rllib.training.checks import (
    check_batches,
    check_environment,
    check_learners,
    check_model_and_length,
    check_objective,
    check_problems,
)
from aepo_rllib.training.declared import check_body, setter
from aepo_rllib.training.known_keys import check_known_key, is_search
from aepo_rllib.training.problem_source import DEFAULT_PROBLEMS, ProblemSource
from aepo_rllib.training.resources import check_resources
from aepo_rllib.training.rllib_options import RLLIB, check_evaluation_config, check_ignored
from aepo_rllib.training.text_options import TextOptions


class TextRLConfig(ProblemSource, TextOptions, AlgorithmConfig):
    """Base configuration."""

    IDLE: ClassVar[tuple[Idle, ...]] = (
        Idle(("lora_alpha", "lora_target_modules"), "set lora_rank as well", when="lora_rank", values=(None,)),
    )
    """Which options do nothing beside which; subclasses add their own."""

    Algo = AlgorithmOf()
    """The algorithm of this config; that of a config without a training step of its own is made from its base's."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_body(cls, RLLIB)
        if algorithms := AlgorithmOf.bases(cls):
            # RLlib and Tune go from an algorithm to its config, too, and must not end at the base's.
            name = {"__module__": cls.__module__, "__qualname__": f"{cls.__qualname__}.Algo", "__doc__": cls.__doc__}
            AlgorithmOf.link(cls, type(cls.__name__.removesuffix("Config"), algorithms, {**name, "Config": cls}))

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or self.Algo)
        self.set_defaults()
        self.lr = 6e-4
        self.grad_clip = 1.0
        self.grad_clip_by = "global_norm"
        self.env = ENV_ID
        self.observation_space, self.action_space = OBSERVATION_SPACE, ACTION_SPACE
        self.env_config: dict[str, Any] = {}
        self.env_runner_cls = TextEnvRunner
        self.num_env_runners = 0
        self.evaluation_interval = 20
        self.evaluation_duration = 128
        self.evaluation_duration_unit = "episodes"
        send_no_connector_states(self)
        self.torch_ddp_kwargs = {"gradient_as_bucket_view": True}  # gradients are there once
        # They are refused before (`CausalLMLearner.apply_gradients`).
        self.torch_skip_nan_gradients = True
        # RLlib drops what takes a runner longer than 60 s.
        self.sample_timeout_s = 1800.0
        # RLlib waits 60 s before a restart, and counts them over the life of a run.
        self.delay_between_env_runner_restarts_s = 1.0
        self.max_num_env_runner_restarts = -1
        self.env_runner_restore_timeout_s = 120
        self.env_runner_health_probe_timeout_s = 5.0
        for base in reversed(type(self).__mro__):  # a method's own defaults, `lr = 1e-6` in its body
            if issubclass(base, TextRLConfig):
                for name in RLLIB.keys() & vars(base).keys():
                    setattr(self, name, copy.deepcopy(vars(base)[name]))

    @setter
    def language_model(
        self,
        *,
        model_path: str = NotProvided,
        dtype: str = NotProvided,
        share_prompts: bool = NotProvided,
        attn_implementation: str | None = NotProvided,
        lora_rank: int | None = NotProvided,
        lora_alpha: float | None = NotProvided,
        lora_target_modules: str | list[str] = NotProvided,
    ) -> Self:
        """Sets the language model."""
        return self

    def problems(
        self,
        *,
        problems: str = NotProvided,
        validation_problems: str | None = NotProvided,
        fields: Mapping[str, str] = NotProvided,
        template: str = NotProvided,
        verifier: str = NotProvided,
        validation_share: float = NotProvided,
        curriculum_steps: int | None = NotProvided,
        max_unjudged_share: float = NotProvided,
        **env_config: Any,
    ) -> Self:
        """Sets the problems to solve; shorthand for `environment(env_config=...)`.

        Args:
            problems: Source of the training problems, see `aepo_rllib.envs.problems.load_problems`.
            validation_problems, validation_share, curriculum_steps, max_unjudged_share: See docs/configuration.md.
            fields, template: Field map of files and datasets, and name of the prompt template.
            verifier: What judges problems that name nothing else: a rule, "module:function" or "file.py:function".
            env_config: Further arguments of `MathTextEnv`.

        Returns:
            This updated AlgorithmConfig object.
        """
        given = {"problems": problems, "fields": fields, "template": template, "verifier": verifier, **env_config}
        self.environment(env_config={name: value for name, value in given.items() if value is not NotProvided})
        validation = {"validation_problems": validation_problems, "validation_share": validation_share}
        return self.training(**validation, curriculum_steps=curriculum_steps, max_unjudged_share=max_unjudged_share)

    @setter
    def sampling(
        self,
        *,
        engine: str = NotProvided,
        engine_options: dict[str, Any] = NotProvided,
        probe_rows: int | None = NotProvided,
        max_new_tokens: int = NotProvided,
        top_p: float = NotProvided,
        top_k: int = NotProvided,
        min_p: float = NotProvided,
        ignore_filters_in_ratio: bool = NotProvided,
        sleep_while_learning: bool = NotProvided,
        torch_threads: int = NotProvided,
    ) -> Self:
        """Sets how completions are sampled."""
        return self

    @override(AlgorithmConfig)
    @setter
    def training(
        self,
        *,
        batch_size: int = NotProvided,
        group_size: int = NotProvided,
        updates_per_batch: int = NotProvided,
        aggregation: str = NotProvided,
        micro_batch_size: int | None = NotProvided,
        skip_flat_rows: bool = NotProvided,
        async_steps: int = NotProvided,
        rows_per_backward: int | None = NotProvided,
        tokens_per_backward: int | None = NotProvided,
        checkpoint_activations: bool | None = NotProvided,
        weight_decay: float = NotProvided,
        adam_betas: tuple[float, float] = NotProvided,
        ratio_tolerance: float | None = NotProvided,
        mismatch_tolerance: float = NotProvided,
        importance_cap: float | None = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets the training configuration: these, any other declared option, and RLlib's (`lr`, `grad_clip`, ...)."""
        return super().training(**kwargs)

    @override(AlgorithmConfig)
    @setter
    def learners(self, *, learner_sharding: str = NotProvided, **kwargs: Any) -> Self:
        """Sets the learner configuration: this, and RLlib's own, such as `num_learners`."""
        return super().learners(**kwargs)

    @override(AlgorithmConfig)
    @setter
    def checkpointing(self, *, export_checkpoints: bool = NotProvided, **kwargs: Any) -> Self:
        """Sets the checkpointing configuration: this, and RLlib's own."""
        return super().checkpointing(**kwargs)

    @override(AlgorithmConfig)
    @setter
    def fault_tolerance(self, *, max_env_runner_restarts_per_hour: int = NotProvided, **kwargs: Any) -> Self:
        """Sets the fault tolerance configuration: this, and RLlib's own."""
        return super().fault_tolerance(**kwargs)

    @classmethod
    def options(cls) -> dict[str, Option]:
        """All options in use here: RLlib's, then the declared ones."""
        return RLLIB | cls.declared()

    def method(self) -> Method:
        """What is sampled, and what is learned from it.

        It is asked in every process and must depend on the options alone.
        """
        raise NotImplementedError

    def dial_loop(self) -> DialLoop | None:
        """The dial of the method with what it reads; None for one that turns nothing."""
        return None

    @override(AlgorithmConfig)
    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """A `CausalLMModule` with the configured weights."""
        return RLModuleSpec(
            module_class=CausalLMModule,
            observation_space=OBSERVATION_SPACE,
            action_space=ACTION_SPACE,
            model_config=self.module_config(),
        )

    @override(AlgorithmConfig)
    def get_default_learner_class(self) -> type[CausalLMLearner]:
        """`CausalLMLearner`."""
        return CausalLMLearner

    @override(AlgorithmConfig)
    def build_learner_group(
        self,
        *,
        env: Any = None,
        spaces: dict[str, Any] | None = None,
        rl_module_spec: Any = None,
        placement_group: Any = None,
    ) -> TextLearnerGroup:
        """As RLlib's, of a group whose learners may share their weights."""
        spec = rl_module_spec or self.get_multi_rl_module_spec(env=env, spaces=spaces)
        return TextLearnerGroup(config=self.copy(), module_spec=spec, placement_group=placement_group)

    @override(AlgorithmConfig)
    def update_from_dict(self, config_dict: Mapping[str, Any]) -> Self:
        """As RLlib's, but a key that does not exist is refused instead of silently set.

        Raises:
            ValueError: an unknown key, with the nearest known ones, or a value that does not fit.
        """
        for key in config_dict:
            check_known_key(self, key)
        check_values({key: value for key, value in config_dict.items() if not is_search(value)}, self.options())
        return super().update_from_dict(dict(config_dict))

    @override(AlgorithmConfig)
    def validate(self) -> None:
        """Checks everything that can be checked before Ray starts.

        Raises:
            ValueError: names the option, its value and the cure.
        """
        defaults = vars(type(self)())
        check_values({key: value for key, value in vars(self).items() if not is_search(value)}, self.options())
        for key in self.evaluation_config or {}:
            check_known_key(self, key)
        check_values(self.evaluation_config or {}, self.options(), "evaluation_config key")
        check_evaluation_config(self.evaluation_config or {})
        for rule in (rule for base in type(self).__mro__ for rule in vars(base).get("IDLE", ())):
            rule.check(self, defaults)
        check_ignored(self, vars(AlgorithmConfig()))
        check_environment(self)
        if self.env == ENV_ID:
            check_arguments("env_config key", self.env_config, MathTextEnv.__init__)
            self.env_config = DEFAULT_PROBLEMS | self.env_config
        super().validate()
        self._make_paths_absolute()
        check_batches(self)
        check_learners(self)
        check_objective(self)
        check_method(self.method, metrics.SECTIONS)
        self.dial_loop()
        check_engine_options("engine_options key", self.engine, self.engine_options)
        if self.env == ENV_ID:
            check_problems(self)
        check_resources(self)
        check_model_and_length(self)

    def _make_paths_absolute(self) -> None:
        """Ray's processes, and Tune's trials above all, run in other folders than the user."""
        self.engine = absolute(self.engine)
        if Path(self.model_path).is_dir():
            self.model_path = str(Path(self.model_path).resolve())
        if self.env == ENV_ID:
            self.env_config = absolute_arguments(self.env_config)
        if self.validation_problems:
            path = Path(named := absolute(self.validation_problems))
            self.validation_problems = str(path.resolve()) if path.exists() else named
