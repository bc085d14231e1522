"""`CausalLMLearner`: glue between RLlib's TorchLearner and the pure functions of `aepo_rllib.objectives`."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.annotations import override

from aepo_rllib import metrics
from aepo_rllib.columns import Columns
from aepo_rllib.objectives import composed_loss, kl_k3


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
        figures |= _ratio_figures(logp_NT.detach(), old_logp_NT, mask_NT & (batch[Columns.WEIGHT] > 0).unsqueeze(-1))
        self.metrics.log_dict(figures, key=module_id, window=1)
        return loss


def _ratio_figures(logp_NT: torch.Tensor, old_logp_NT: torch.Tensor, mask_NT: torch.Tensor) -> dict[str, torch.Tensor]:
    """How far the policy has moved from the one that sampled, over trained tokens."""
    tokens = mask_NT.sum().clamp_min(1)
    log_ratio_NT = torch.where(mask_NT, logp_NT - old_logp_NT, torch.zeros_like(logp_NT))
    return {
        metrics.RATIO_MAX_DEVIATION: (log_ratio_NT.exp() - 1).abs().max(),
        metrics.KL_OLD_TO_NEW: kl_k3(torch.zeros_like(log_ratio_NT), log_ratio_NT).sum() / tokens,
    }
