"""`CausalLMLearner`: glue between RLlib's TorchLearner and the pure functions of `aepo_rllib.objectives.losses`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.annotations import override

from aepo_rllib import metrics
from aepo_rllib.columns import Columns
from aepo_rllib.experience.dealing import Row, columns_of
from aepo_rllib.learning.probe import Sequences
from aepo_rllib.objectives.losses import composed_loss, kl_k3, weighted_sum


class CausalLMLearner(TorchLearner):
    """Minimises the composed loss of its config (`config.loss_components()`).

    Batches arrive finished: whole groups, advantages and row weights are computed before the learner group
    (`aepo_rllib.experience.dealing`), because RLlib shards before a learner connector could see a whole group.
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

    @override(TorchLearner)
    def _uncompiled_update(self, batch: dict[str, Any], **kwargs: Any) -> tuple[Any, dict[str, torch.Tensor], dict]:
        """One optimizer step. Its gradient is summed over passes of at most `rows_per_backward` rows.

        Row weights hold the denominators of the whole step, over all passes and learners, so that the passes add up to
        the gradient of the undivided batch. Learners may take different numbers of passes: they meet in the last one.
        """
        self._compute_off_policyness(batch)
        for optimizer in self._optimizer_parameters:
            optimizer.zero_grad(set_to_none=True)
        parts = _split(batch[DEFAULT_MODULE_ID], self.config.rows_per_backward)
        self._figures: list[dict[str, torch.Tensor]] = []
        losses = []
        for place, part in enumerate(parts):
            with self._alone(place + 1 < len(parts)):
                fwd_out = self.module.forward_train({DEFAULT_MODULE_ID: part})
                loss = self.compute_losses(fwd_out=fwd_out, batch={DEFAULT_MODULE_ID: part})[DEFAULT_MODULE_ID]
                loss.backward()
            losses.append(loss.detach())
        self._log_figures()
        gradients = {ref: parameter.grad for ref, parameter in self._params.items() if parameter.grad is not None}
        self.apply_gradients(self.postprocess_gradients(gradients))
        return fwd_out, {DEFAULT_MODULE_ID: torch.stack(losses).sum()}, {}

    @torch.no_grad()
    def log_probs(self, sequences: Sequences) -> list[np.ndarray]:
        """log pi of given completions under the present weights: an array (completion tokens,) for each."""
        module = self.module[DEFAULT_MODULE_ID].unwrapped()
        rows = [
            Row(prompt, np.array(completion), np.zeros(len(completion), np.float32), 0.0, 0, 1.0)
            for prompt, completion in sequences
        ]
        size = self.config.rows_per_backward or -(-len(rows) // self.config.updates_per_batch) or 1
        result = []
        for part in (rows[start : start + size] for start in range(0, len(rows), size)):
            batch = {name: torch.from_numpy(column).to(self.device) for name, column in columns_of(part).items()}
            logp_NT = module.forward_train(batch)[Columns.POLICY_LOGP].float().cpu().numpy()
            result += [logp_T[: len(row.completion_ids)] for logp_T, row in zip(logp_NT, part, strict=True)]
        return result

    def release_memory(self) -> None:
        """Give back what this process holds of the device without need: gradients, and what torch has cached."""
        for parameter in self._params.values():
            parameter.grad = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @property
    def index(self) -> int:
        """This learner's place in its group."""
        return self._learner_index

    @contextlib.contextmanager
    def _alone(self, alone: bool) -> Iterator[None]:
        """A block whose backward pass does not meet those of other learners."""
        with contextlib.ExitStack() as stack:
            if alone and self.config.num_learners > 1:
                for module in self.module.values():
                    stack.enter_context(module.no_sync())
            yield

    @override(Learner)
    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, torch.Tensor], fwd_out: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """The sum of the config's components over these rows."""
        components = config.loss_components()
        logp_NT, old_logp_NT = fwd_out[Columns.POLICY_LOGP], batch[Columns.OLD_LOGP]
        mask_NT, weight_N = batch[Columns.COMPLETION_MASK], batch[Columns.WEIGHT]
        loss, terms = composed_loss(
            list(components.values()),
            batch[Columns.COMPONENT],
            logp_NT,
            old_logp_NT,
            batch[Columns.ADVANTAGE],
            mask_NT,
            weight_N,
            batch[Columns.IMPORTANCE],
        )
        moved = _movement(logp_NT.detach(), batch[Columns.POLICY_LOGP], mask_NT & (weight_N > 0).unsqueeze(-1))
        main_weight_N = weight_N * (batch[Columns.COMPONENT] == 0)
        self._figures.append(
            {
                **{metrics.loss_of(name): term.detach() for name, term in zip(components, terms, strict=True)},
                metrics.SURPRISAL: weighted_sum(-logp_NT.detach(), mask_NT, main_weight_N),
                **moved._asdict(),
            }
        )
        return loss

    def _log_figures(self) -> None:
        """Log this step's figures, of all its passes."""
        columns = {name: torch.stack([part[name] for part in self._figures]) for name in self._figures[0]}
        # Over learners the largest one, not the mean that RLlib takes.
        for name, figure in ((metrics.RATIO_MAX_DEVIATION, "deviation"), (metrics.LARGEST_LOGP_GAP, "largest_gap")):
            largest = columns.pop(figure).max()
            self.metrics.log_value((DEFAULT_MODULE_ID, name), largest, reduce="max", window=1)
        sums = {name: column.sum() for name, column in columns.items()}
        sums[metrics.TRAINED_TOKENS] = sums.pop("tokens")
        tokens = sums[metrics.TRAINED_TOKENS].clamp_min(1)
        sums[metrics.KL_OLD_TO_NEW] = sums.pop("kl") / tokens
        sums[metrics.LOGP_GAP] = sums.pop("gap") / tokens
        self.metrics.log_dict(sums, key=DEFAULT_MODULE_ID, window=1)

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


class _Movement(NamedTuple):
    """How far the learner's policy is from the engine's that sampled.

    Attributes:
        deviation: Largest |ratio - 1|.
        largest_gap: Largest |log ratio|.
        gap: |log ratio|, summed over tokens.
        kl: k3 estimate of KL(old || new), summed over tokens.
        tokens: Their number.
    """

    deviation: torch.Tensor
    largest_gap: torch.Tensor
    gap: torch.Tensor
    kl: torch.Tensor
    tokens: torch.Tensor


def _movement(logp_NT: torch.Tensor, old_logp_NT: torch.Tensor, mask_NT: torch.Tensor) -> _Movement:
    log_ratio_NT = torch.where(mask_NT, logp_NT - old_logp_NT, torch.zeros_like(logp_NT))
    kl_NT = kl_k3(torch.zeros_like(log_ratio_NT), log_ratio_NT)
    deviation = (log_ratio_NT.exp() - 1).abs().max()
    gap_NT = log_ratio_NT.abs()
    return _Movement(deviation, gap_NT.max(), gap_NT.sum(), kl_NT.sum(), mask_NT.sum())


def _split(batch: Mapping[str, torch.Tensor], size: int | None) -> list[dict[str, torch.Tensor]]:
    """Neighbouring rows of a batch, at most `size` together; groups are neighbours, and share their prompt's pass."""
    rows = len(batch[Columns.WEIGHT])
    size = size or rows
    return [{name: batch[name][start : start + size] for name in batch} for start in range(0, rows, size)]
