"""`EvaluateSuites`: benchmark suites during training, with the weights of the moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback

from aepo_rllib.eval.plan import EvaluationPlan
from aepo_rllib.eval.suites.own import split_suites
from aepo_rllib.eval.target import find_target
from aepo_rllib.rollout import engine_class

SUITES_RESULTS = "suites"
"""Where the scores stand in a training result: result["suites"][suite]["pass@1"]."""


class EvaluateSuites(RLlibCallback):
    """Runs suites after every `every`-th training iteration, and puts their scores into its result.

    The policy is exported as a Hugging Face directory and evaluated as `aepo eval` would, in the algorithm's process.
    Training is not touched: a run with this callback takes the same steps as one without.

        config.callbacks(functools.partial(EvaluateSuites, suites=["aepo_math500"], every=50, n=16))

    Args:
        suites: Names of suites and groups; default the embedded one where there are no `problems` among the options.
        every: Iterations between evaluations.
        n: Samples per problem.
        ks: Values of k; default the powers of two up to n.
        temperature: Of the samples.
        output: Folder for reports and samples, a subfolder an evaluation; default none are kept.
        options: Further settings of an evaluation, see `aepo_rllib.eval.plan.EvaluationPlan`.

    Raises:
        ValueError: unknown suite, k above n, or another setting out of its range.
        TypeError: an option that is no setting.
    """

    def __init__(
        self,
        suites: Sequence[str] | None = None,
        *,
        every: int = 50,
        n: int = 16,
        ks: Sequence[int] | None = None,
        temperature: float = 1.0,
        output: str | Path | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.plan = EvaluationPlan(
            suites=suites, n=n, ks=ks, temperature=temperature, output=output, overwrite=True, **options
        )
        split_suites(self.plan.suites or (), self.plan.include_path)
        self.every = every

    def on_algorithm_init(self, *, algorithm: Any, **kwargs: Any) -> None:
        """Refuse an engine of which this process will have one already.

        Raises:
            ValueError: evaluation and rollouts would both have an engine of a kind that a process holds once.
        """
        engine, config = self.plan.engine, algorithm.config
        same = engine_class(engine) is engine_class(config.engine)
        if same and config.num_env_runners == 0 and engine_class(engine).one_per_process:
            raise ValueError(
                f"EvaluateSuites(engine={engine!r}) needs a second engine in the algorithm's process, which holds one; "
                "leave engine out, or set num_env_runners=1"
            )

    def on_train_result(self, *, algorithm: Any, result: dict[str, Any], **kwargs: Any) -> None:
        """Evaluate, where it is time to.

        Raises:
            aepo_rllib.envs.ProblemError: a suite's problems cannot be read.
        """
        iteration = int(result["training_iteration"])
        if iteration % self.every:
            return
        # Here, because it takes lm-eval seconds to load, and Ray's actors import this module too.
        from aepo_rllib.eval.run import evaluate

        with TemporaryDirectory(prefix="aepo-suites-") as folder:
            algorithm.export_huggingface(folder)
            target = find_target(folder, self.plan.template, self.plan.answer_form)
            output = None if self.plan.output is None else Path(self.plan.output) / f"iteration_{iteration:06d}"
            told = replace(self.plan, model=folder, template=target.template, answer_form=target.answer_form)
            summary = evaluate(replace(told, output=output))
        scores = summary["suites"] | summary["groups"]
        result[SUITES_RESULTS] = {
            name: {f"pass@{k}": point["mean"] for k, point in part["k"].items()} for name, part in scores.items()
        }
