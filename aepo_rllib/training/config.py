"""`TextRLConfig`: what every algorithm on text shares — model, problems, sampling, batches — with its checks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib import metrics
from aepo_rllib.envs.problems import ProblemSet, load_problems
from aepo_rllib.envs.text_env import ACTION_SPACE, ENV_ID, OBSERVATION_SPACE, MathTextEnv, absolute_arguments
from aepo_rllib.learning.learner import CausalLMLearner
from aepo_rllib.learning.probe import PROBE_ROWS, Tolerance
from aepo_rllib.learning.rl_module import CausalLMModule
from aepo_rllib.models.hf import DTYPES, EMBEDDED
from aepo_rllib.objectives.losses import AGGREGATIONS, Component
from aepo_rllib.rollout import SamplingFilters, check_engine_options
from aepo_rllib.rollout import engine_class as find_engine_class
from aepo_rllib.sampling.env_runner import TextEnvRunner
from aepo_rllib.support.arguments import check_arguments
from aepo_rllib.training.checks import (
    check_batches,
    check_environment,
    check_model_and_length,
    check_objective,
    check_problems,
    check_resources,
)
from aepo_rllib.training.known_keys import check_known_key, is_search
from aepo_rllib.training.options import (
    FLAG,
    FRACTION,
    MAPPING,
    NOT_NEGATIVE,
    TEXT,
    Idle,
    Option,
    check_values,
    choice,
    count,
)
from aepo_rllib.training.rllib_options import RLLIB, check_evaluation_config, check_ignored

DEFAULT_PROBLEMS = {"problems": "arithmetic"}


class TextRLConfig(AlgorithmConfig):
    """Base configuration. Defaults suit the embedded model on two CPU cores."""

    OPTIONS: ClassVar[dict[str, Option]] = {
        **RLLIB,
        "model_path": TEXT,
        "dtype": choice(*DTYPES),
        "share_prompts": FLAG,
        "engine": TEXT,
        "engine_options": MAPPING,
        "probe_rows": count(0, optional=True),
        "max_new_tokens": count(),
        "top_p": Option(float, above=0, most=1),
        "top_k": count(0),
        "min_p": FRACTION,
        "ignore_filters_in_ratio": FLAG,
        "sleep_while_learning": FLAG,
        "torch_threads": count(),
        "batch_size": count(),
        "group_size": count(2),  # one completion alone has no baseline
        "updates_per_batch": count(),
        "aggregation": choice(*AGGREGATIONS),
        "micro_batch_size": count(optional=True),
        "skip_flat_rows": FLAG,
        "rows_per_backward": count(optional=True),
        "ratio_tolerance": Option(float, least=0, optional=True),
        "mismatch_tolerance": NOT_NEGATIVE,
        "importance_cap": Option(float, least=1, optional=True),
        "weight_decay": NOT_NEGATIVE,
        "adam_betas": Option(float, least=0, below=1, pair=True),
        "validation_problems": Option(str, optional=True),
        "max_unjudged_share": FRACTION,
        "max_env_runner_restarts_per_hour": count(0),
    }
    """What values options may have; subclasses add their own."""
    IDLE: ClassVar[tuple[Idle, ...]] = ()
    """Which options do nothing beside which; subclasses add their own."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class)
        # Model.
        self.model_path: str = EMBEDDED
        self.dtype = "float32"
        self.share_prompts = True
        # Sampling.
        self.engine = "transformers"
        self.engine_options: dict[str, Any] = {}
        self.probe_rows: int | None = None
        self.max_new_tokens = 64
        self.top_p, self.top_k, self.min_p = 1.0, 0, 0.0
        self.ignore_filters_in_ratio = False
        self.sleep_while_learning = False
        self.torch_threads = 1
        # Batches.
        self.batch_size = 16
        self.group_size = 8
        self.updates_per_batch = 2
        self.aggregation = "token-mean"
        self.micro_batch_size: int | None = None
        self.skip_flat_rows = True
        self.rows_per_backward: int | None = None
        self.ratio_tolerance: float | None = None
        self.mismatch_tolerance = 0.05
        self.importance_cap: float | None = None
        # Optimizer.
        self.lr = 6e-4
        self.weight_decay = 0.0
        self.adam_betas = (0.9, 0.999)
        self.grad_clip = 1.0
        self.grad_clip_by = "global_norm"
        # RLlib.
        self.env = ENV_ID
        self.observation_space, self.action_space = OBSERVATION_SPACE, ACTION_SPACE
        self.env_config: dict[str, Any] = {}
        self.validation_problems: str | None = None
        self.max_unjudged_share = 0.2
        self.env_runner_cls = TextEnvRunner
        self.num_env_runners = 0
        self.evaluation_interval = 20
        self.evaluation_duration = 128
        self.evaluation_duration_unit = "episodes"
        self._dont_auto_sync_env_runner_states = True  # the runners hold no connector states
        # RLlib drops what takes a runner longer than 60 s.
        self.sample_timeout_s = 1800.0
        # RLlib waits 60 s before a restart, and counts restarts over the life of a run.
        self.delay_between_env_runner_restarts_s = 1.0
        self.max_num_env_runner_restarts = -1
        self.max_env_runner_restarts_per_hour = 30
        self.env_runner_restore_timeout_s = 120
        self.env_runner_health_probe_timeout_s = 5.0

    def language_model(
        self, *, model_path: str = NotProvided, dtype: str = NotProvided, share_prompts: bool = NotProvided
    ) -> Self:
        """Sets the language model.

        Args:
            model_path: Hugging Face folder or id, or "embedded". Read as safetensors; remote code stays off.
            dtype: What forward passes compute in, and what exports are stored in: "float32" or "bfloat16". The learner
                keeps float32 weights either way: a step of 1e-6 is lost in 16 bits.
            share_prompts: Run each distinct prompt once in the learner, see `CausalLMModule`.

        Returns:
            This updated AlgorithmConfig object.
        """
        return self._set(locals())

    def problems(
        self,
        *,
        problems: str = NotProvided,
        validation_problems: str | None = NotProvided,
        fields: Mapping[str, str] = NotProvided,
        template: str = NotProvided,
        verifier: str = NotProvided,
        max_unjudged_share: float = NotProvided,
        **env_config: Any,
    ) -> Self:
        """Sets the problems to solve; shorthand for `environment(env_config=...)`.

        Args:
            problems: Source of the training problems, see `aepo_rllib.envs.problems.load_problems`.
            validation_problems: Source for `Algorithm.evaluate`; by default the validation split of a procedural
                set. Other sources have none: without it, switch evaluation off (`evaluation_interval=None`).
            fields: Field map of files and datasets.
            template: Name of the prompt template.
            verifier: What judges the answers of problems that name nothing else: a rule such as "math-numeric", or a
                reward function of your own, "module:function" or "path/to/file.py:function", see docs/grading.md.
            max_unjudged_share: The run stops when the grader times out or crashes on more than this share of a
                batch.
            env_config: Further arguments of `MathTextEnv`.

        Returns:
            This updated AlgorithmConfig object.
        """
        given = {"problems": problems, "fields": fields, "template": template, "verifier": verifier, **env_config}
        self.environment(env_config={name: value for name, value in given.items() if value is not NotProvided})
        return self._set({"validation_problems": validation_problems, "max_unjudged_share": max_unjudged_share})

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
        """Sets how completions are sampled.

        Args:
            engine: Name of the rollout engine.
            engine_options: Its own options.
            probe_rows: So many completions are asked of engines and learner after every weight update; where their
                log-probs differ by more than the tolerances of `training`, the run stops. None asks 4 of an engine
                that has a model implementation of its own (vLLM), else 0: the first ratio of a batch tells as much.
            max_new_tokens: Longest completion in tokens, EOS included.
            top_p, top_k, min_p: Filters of the sampling law. The ratio is taken against the unfiltered policy, so
                they are refused, unless
            ignore_filters_in_ratio: accepts the mismatch (the authors' code does, with top_p 0.99).
            sleep_while_learning: Engines give their memory back while the learner works; for one GPU that both share.
            torch_threads: Torch threads of every process; parallelism comes from env runners and learners.

        Returns:
            This updated AlgorithmConfig object.
        """
        return self._set(locals())

    @override(AlgorithmConfig)
    def training(
        self,
        *,
        batch_size: int = NotProvided,
        group_size: int = NotProvided,
        updates_per_batch: int = NotProvided,
        aggregation: str = NotProvided,
        micro_batch_size: int | None = NotProvided,
        skip_flat_rows: bool = NotProvided,
        rows_per_backward: int | None = NotProvided,
        weight_decay: float = NotProvided,
        adam_betas: tuple[float, float] = NotProvided,
        ratio_tolerance: float | None = NotProvided,
        mismatch_tolerance: float = NotProvided,
        importance_cap: float | None = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets the training related configuration.

        Args:
            batch_size: Prompts per training step.
            group_size: Completions per prompt, at least 2.
            updates_per_batch: Optimizer steps a batch is split into, whole groups each.
            aggregation: "token-mean", "seq-mean-token-mean", "seq-mean-token-sum-norm" or "micro-batch-token-mean", see
                `aepo_rllib.objectives.losses.row_weights`.
            micro_batch_size: Completions of a micro-batch, for "micro-batch-token-mean".
            skip_flat_rows: Leave completions with advantage 0 out of the learner's forward pass. They carry no
                gradient and stay in the token count; only the surprisal of the update needs them.
            rows_per_backward: Most completions of a forward and backward pass of a learner; the gradients of an
                optimizer step's passes add up. Bounds memory and changes nothing else. None: all at once.
            weight_decay, adam_betas: Of AdamW.
            ratio_tolerance: The run stops when the ratio of engine and learner is off 1 by more than this, at any token
                of the first optimizer step of a batch or of the probe: the engine would be sampling from other
                weights. None: 0.01, and no bound in 16 bits, where single tokens differ.
            mismatch_tolerance: Likewise for the mean |log pi - log pi_engine|, in nats per token. In 16 bits this alone
                stops a run; an engine that lags by a small update or two is then no further off than rounding is.
            importance_cap: Truncated importance sampling: the token losses of main rows are multiplied by
                min(pi_old / pi_engine, cap), pi_old being the learner's policy with the weights that sampled, and all
                ratios are taken against pi_old. For engines whose log-probs differ from the learner's (vLLM in 16
                bits); 2 is usual. It costs a forward pass of the learner per batch. Tempered rows are never weighted.
                None: off.
            kwargs: RLlib's own, such as `lr`, `grad_clip`, and `num_epochs` (passes over a batch).

        Returns:
            This updated AlgorithmConfig object.
        """
        super().training(**kwargs)
        return self._set(locals())

    @classmethod
    def options(cls) -> dict[str, Option]:
        """What values options may have, the bases' included."""
        return {
            name: option for base in reversed(cls.__mro__) for name, option in vars(base).get("OPTIONS", {}).items()
        }

    @override(AlgorithmConfig)
    def fault_tolerance(self, *, max_env_runner_restarts_per_hour: int = NotProvided, **kwargs: Any) -> Self:
        """Sets the fault tolerance configuration.

        Args:
            max_env_runner_restarts_per_hour: The run stops when env runners died more often than this, each, within an
                hour. (RLlib's own `max_num_env_runner_restarts` counts over the life of a run; here it is unlimited.)
            kwargs: RLlib's own.

        Returns:
            This updated AlgorithmConfig object.
        """
        super().fault_tolerance(**kwargs)
        return self._set(locals())

    def probe_count(self) -> int:
        """The number behind `probe_rows`."""
        if self.probe_rows is not None:
            return self.probe_rows
        return PROBE_ROWS if find_engine_class(self.engine).own_model else 0

    def engine_entropy(self) -> str:
        """The better entropy that the engine gives: the exact one where it sees logits, else the sampled surprisal."""
        exact = find_engine_class(self.engine).exact_entropy
        return metrics.EXACT_ENTROPY if exact else metrics.SAMPLED_SURPRISAL

    def tolerance(self) -> Tolerance:
        """How far the engine's log-probs may be from the learner's."""
        ratio = self.ratio_tolerance
        if ratio is None:
            ratio = math.inf if DTYPES[self.dtype].itemsize == 2 else 0.01
        return Tolerance(ratio, self.mismatch_tolerance)

    def loss_components(self) -> dict[str, Component]:
        """The named terms of the loss, in the order of their component index."""
        raise NotImplementedError

    def sampling_filters(self) -> SamplingFilters:
        """The filters of the sampling law."""
        return SamplingFilters(top_k=self.top_k, top_p=self.top_p, min_p=self.min_p)

    def text_env_kwargs(self) -> dict[str, Any]:
        """Arguments of the environment; an evaluation runner gets validation problems.

        An environment of the user's gets what `env_config` says, but for `template`: it names the frame around prompts.
        """
        if self.env != ENV_ID:
            return {name: value for name, value in self.env_config.items() if name != "template"}
        kwargs = DEFAULT_PROBLEMS | self.env_config
        if self.in_evaluation:
            kwargs["problems"] = self.validation_problems or kwargs["problems"]
            kwargs["split"] = "validation"
        return kwargs

    def evaluates_training_problems(self) -> bool:
        """Whether an environment of the user's is the same in evaluation, as far as the config tells."""
        own = {"env", "env_config"} & set(self.evaluation_config or {})
        return bool(self.evaluation_interval) and self.env != ENV_ID and not own

    def load_problems(self, **instead: Any) -> ProblemSet:
        """The problems that an env runner of this config gets; `instead` replaces arguments of the environment.

        Raises:
            ProblemError: they cannot be used; names the source, and file and line of a malformed row.
        """
        kwargs = self.text_env_kwargs() | instead
        return load_problems(
            kwargs["problems"],
            split=kwargs.get("split", "train"),
            fields=kwargs.get("fields"),
            seed=kwargs.get("problem_seed", 0),
            verifier=kwargs.get("verifier"),
            drop_conflicts=kwargs.get("drop_conflicts", False),
        )

    @override(AlgorithmConfig)
    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """A `CausalLMModule` with the configured weights."""
        return RLModuleSpec(
            module_class=CausalLMModule,
            observation_space=OBSERVATION_SPACE,
            action_space=ACTION_SPACE,
            model_config={"model": self.model_path, "dtype": self.dtype, "share_prompts": self.share_prompts},
        )

    @override(AlgorithmConfig)
    def get_default_learner_class(self) -> type[CausalLMLearner]:
        """`CausalLMLearner`."""
        return CausalLMLearner

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
        check_objective(self)
        check_engine_options("engine_options key", self.engine, self.engine_options)
        if self.env == ENV_ID:
            check_problems(self)
        check_resources(self)
        check_model_and_length(self)

    def _make_paths_absolute(self) -> None:
        """Ray's processes, and Tune's trials above all, run in other folders than the user."""
        if Path(self.model_path).is_dir():
            self.model_path = str(Path(self.model_path).resolve())
        if self.env == ENV_ID:
            self.env_config = absolute_arguments(self.env_config)
        if self.validation_problems and Path(self.validation_problems).exists():
            self.validation_problems = str(Path(self.validation_problems).resolve())

    def _set(self, options: Mapping[str, Any]) -> Self:
        """Sets the options that were given; takes a method's `locals()`, with what Python puts there."""
        for name, value in options.items():
            if value is not NotProvided and name not in ("self", "__class__", "kwargs"):
                setattr(self, name, value)
        return self
