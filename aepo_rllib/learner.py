"""`CausalLMLearner`: glue between RLlib's TorchLearner and the pure functions of `aepo_rllib.objectives`."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.annotations import override

from aepo_rllib import metrics
from aepo_rllib.columns import Columns
from aepo_rllib.objectives import composed_loss, kl_k3, weighted_sum


class CausalLMLearner(TorchLearner):
    """Minimises the composed loss of its config (`config.loss_components()`).

    Batches arrive finished: whole groups, advantages and row weights are computed before the learner group
    (`aepo_rllib.batching`), because RLlib shards before a learner connector could see a whole group.
    """

    @override(TorchLearner)
    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """AdamW, as everywhere in this field."""
        parameters = self.get_parameters(self._module[module_id])
        self.register_optimizer(
            module_id=module_id,
            optimizer=torch.optim.AdamW(parameters, weight_decay=config.weight_decay, betas=config.adam_betas),
            params=parameters,
            lr_or_lr_schedule=config.lr,
        )

    @override(Learner)
    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, torch.Tensor], fwd_out: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """The sum of the config's components over this learner's rows."""
        components = config.loss_components()
        logp_NT, old_logp_NT = fwd_out[Columns.POLICY_LOGP], batch[Columns.POLICY_LOGP]
        mask_NT = batch[Columns.COMPLETION_MASK]
        loss, terms = composed_loss(
            list(components.values()),
            batch[Columns.COMPONENT],
            logp_NT,
            old_logp_NT,
            batch[Columns.ADVANTAGE],
            mask_NT,
            batch[Columns.WEIGHT],
        )
        figures = {metrics.loss_of(name): term.detach() for name, term in zip(components, terms, strict=True)}
        main_weight_N = batch[Columns.WEIGHT] * (batch[Columns.COMPONENT] == 0)
        figures[metrics.SURPRISAL] = weighted_sum(-logp_NT.detach(), mask_NT, main_weight_N)
        trained_NT = mask_NT & (batch[Columns.WEIGHT] > 0).unsqueeze(-1)
        deviation, figures[metrics.KL_OLD_TO_NEW] = _movement(logp_NT.detach(), old_logp_NT, trained_NT)
        self.metrics.log_dict(figures, key=module_id, window=1)
        # Over learners the largest one, not the mean that RLlib takes.
        self.metrics.log_value((module_id, metrics.RATIO_MAX_DEVIATION), deviation, reduce="max", window=1)
        return loss

    @override(TorchLearner)
    def apply_gradients(self, gradients_dict: dict[str, torch.Tensor]) -> None:
        """As RLlib's, but a gradient that is not finite is left out: it would reach every weight.

        Gradients have been averaged over the learners, so that all of them leave it out together. The algorithm reads
        `metrics.GRADIENT_FINITE` and stops the run; raising here would take a remote learner out of service, and the
        weights with it.
        """
        gradients = [gradient for gradient in gradients_dict.values() if gradient is not None]
        norm = torch.stack(torch._foreach_norm(gradients)).norm() if gradients else torch.zeros(())
        finite = bool(torch.isfinite(norm))
        self.metrics.log_value((DEFAULT_MODULE_ID, metrics.GRADIENT_FINITE), float(finite), reduce="min", window=1)
        if finite:
            super().apply_gradients(gradients_dict)


def _movement(
    logp_NT: torch.Tensor, old_logp_NT: torch.Tensor, mask_NT: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """How far the policy is from the one that sampled: largest |ratio - 1|, and KL(old || new) per token."""
    log_ratio_NT = torch.where(mask_NT, logp_NT - old_logp_NT, torch.zeros_like(logp_NT))
    kl = kl_k3(torch.zeros_like(log_ratio_NT), log_ratio_NT).sum() / mask_NT.sum().clamp_min(1)
    return (log_ratio_NT.exp() - 1).abs().max(), kl
