"""Whether the models of a study can be asked what its evaluation asks: before any of them is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aepo_rllib.cli.study.trial import Trial

TEMPLATE = "template"


def check_evaluations(trials: Sequence[Trial]) -> None:
    """Refuse an evaluation that one of the trials could not make.

    Raises:
        ValueError: problems that leave no room for an answer, or a template that does not fit the model.
    """
    from aepo_rllib.eval.plan import EvaluationPlan
    from aepo_rllib.eval.preflight import check_prompts

    asked = {}
    for trial in trials:
        if trial.evaluation is not None:
            own = trial.settings.get("env_config", {}).get(TEMPLATE, "plain") if trial.settings else None
            template = trial.evaluation.get(TEMPLATE) or own
            asked[trial.model, template] = {**trial.evaluation, "model": trial.model, TEMPLATE: template}
    for settings in asked.values():
        check_prompts(EvaluationPlan(**settings))
