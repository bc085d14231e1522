"""`CausalLMLearner`: glue between RLlib's TorchLearner and the pure functions of `aepo_rllib.objectives`."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.annotations import override

from aepo_rllib import metrics
from aepo_rllib.columns import Columns
from aepo_rllib.experience.passes import Passes
from aepo_rllib.experience.rows import token_columns
from aepo_rllib.learning.batches import LIVE_COLUMNS, passes_in, stream_tokens
from aepo_rllib.learning.movement import movement
from aepo_rllib.learning.saving import SavingLearner
from aepo_rllib.learning.scoring import Figures, scored_in_passes
from aepo_rllib.learning.sharding import give_back, whole
from aepo_rllib.objectives.parts import Method, term_values
from aepo_rllib.rllib_seam import SteppingLearner
from aepo_rllib.rollout.engine import Sequences


class CausalLMLearner(SavingLearner):
    """Minimises the terms of its config's method (`config.method()`).

    Batches arrive finished: whole groups, advantages, weights and passes are computed before the learner group
    (`aepo_rllib.experience.dealing`), because RLlib shards before a learner connector could see a whole group.
    """

    _norm: torch.Tensor | None = None
    """Of the gradients at hand before clipping: learners that share them gather it, and so take it once."""

    @override(TorchLearner)
    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """AdamW, as everywhere in this field, of what is not frozen."""
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        self.register_optimizer(
            module_id=module_id,
            optimizer=torch.optim.AdamW(parameters, weight_decay=config.weight_decay, betas=config.adam_betas),
            params=parameters,
            lr_or_lr_schedule=config.lr,
        )

    @override(SteppingLearner)
    def optimizer_step(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """One step, whose gradient is summed over the batch's passes.

        Row weights hold the denominators of the whole step, over all passes and learners, so that the passes add up to
        the gradient of the undivided batch. All learners take equally many.
        """
        method: Method = self.config.method()
        self.forget_gradients()
        parts = passes_in(batch)
        figures, losses = [], []
        for place, part in enumerate(parts):
            with self._alone(place + 1 < len(parts)):
                loss, figures_of_part = self._loss(method, part)
                loss.backward()
            losses.append(loss.detach())
            figures.append(figures_of_part)
        self._log(figures)
        self.apply_gradients(self.postprocess_gradients(self.gradients()))
        return torch.stack(losses).sum()

    def _loss(self, method: Method, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The sum of the method's terms over these rows, and what is logged of them."""
        columns = [LIVE_COLUMNS[name] for name in method.reads if name in LIVE_COLUMNS]
        forward = self.module.forward_train({DEFAULT_MODULE_ID: batch}, reads=columns)[DEFAULT_MODULE_ID]
        values: dict[str, torch.Tensor] = {}
        for place, stream in enumerate(method.streams):
            terms = method.terms_of(stream)
            own = [index for index, name in enumerate(method.terms) if name in terms]
            rows_N = batch[Columns.STREAM] == place
            factor_NKT = batch[Columns.FACTOR][rows_N][:, own] if Columns.FACTOR in batch else None
            tokens = stream_tokens(forward, batch, rows_N, method.reads)
            values |= term_values(terms, tokens, batch[Columns.WEIGHT][rows_N][:, own], factor_NKT)
        logp_NT, mask_NT = forward[Columns.POLICY_LOGP].detach(), batch[Columns.COMPLETION_MASK]
        counted_NT = mask_NT & batch[Columns.WEIGHT].any(1, keepdim=True)
        surprisal_N = torch.where(mask_NT, -logp_NT, torch.zeros_like(logp_NT)).sum(-1)
        figures = {
            **{metrics.loss_of(name): value.detach() for name, value in values.items()},
            metrics.SURPRISAL: (surprisal_N * batch[Columns.MEAN_WEIGHT]).sum(),
            **movement(logp_NT, batch[Columns.POLICY_LOGP], counted_NT)._asdict(),
        }
        return torch.stack(list(values.values())).sum(), figures

    def score(self, sequences: Sequences, reads: Collection[str] = (), **options: Any) -> list[Figures]:
        """Figures of given completions by this learner alone, see `score_passes`."""
        limit = self.config.scoring_limit(len(sequences))
        return scored_in_passes(
            sequences, limit, lambda passes: [self.score_passes(own, reads, **options) for own in passes]
        )

    @torch.no_grad()
    def score_passes(
        self,
        passes: Passes,
        reads: Collection[str] = (),
        *,
        temperature: float = 1.0,
        by_reference: bool = False,
    ) -> list[Figures]:
        """Figures of rows under the present weights, by column name: (completion tokens,) each.

        Args:
            passes: Rows that go through the model together; learners that share weights are asked together, for
                equally many passes.
            reads: Columns besides `POLICY_LOGP`: `ENTROPY`, `HEATED_LOGP`.
            temperature: Of `HEATED_LOGP`.
            by_reference: Under the weights that the run started from, instead.
        """
        module = self.reference if by_reference else self.module[DEFAULT_MODULE_ID].unwrapped()
        result = []
        for rows in passes:
            batch = {name: torch.from_numpy(column).to(self.device) for name, column in token_columns(rows).items()}
            scored = module.forward_train(batch, reads=reads, temperature=temperature)
            figures = {name: scored[name].float().cpu().numpy() for name in (Columns.POLICY_LOGP, *reads)}
            result += [
                {name: values_NT[place, : len(row.completion_ids)] for name, values_NT in figures.items()}
                for place, row in enumerate(rows)
            ]
        if self.config.sharded:
            give_back(module.scorer)
        return result

    def release_memory(self) -> None:
        """Give back what this process holds of the device without need: gradients, and what torch has cached."""
        self.forget_gradients()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @contextlib.contextmanager
    def _alone(self, alone: bool) -> Iterator[None]:
        """A block whose backward pass does not meet those of other learners."""
        with contextlib.ExitStack() as stack:
            if alone and self.config.num_learners > 1 and not self.config.sharded:
                for module in self.module.values():
                    stack.enter_context(module.no_sync())
            yield

    def _log(self, parts: Sequence[Mapping[str, torch.Tensor]]) -> None:
        """Log a step's figures, of all its passes."""
        columns = {name: torch.stack([part[name] for part in parts]) for name in parts[0]}
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
    def postprocess_gradients(self, gradients_dict: dict[Any, torch.Tensor]) -> dict[Any, torch.Tensor]:
        """As RLlib's, whose clipping would log a part of a norm that learners share."""
        if not self.config.sharded:
            return super().postprocess_gradients(gradients_dict)
        self._norm = norm = _norm(gradients_dict)
        if clip := self.config.grad_clip:
            key = (DEFAULT_MODULE_ID, "gradients_default_optimizer_global_norm")
            self.metrics.log_value(key, norm, window=1)
            torch.nn.utils.clip_grads_with_norm_(self.parameters(), clip, norm)
        return gradients_dict

    @override(TorchLearner)
    def apply_gradients(self, gradients_dict: dict[Any, torch.Tensor]) -> None:
        """As RLlib's, but a gradient that is not finite is left out: it would reach every weight.

        Gradients have been averaged over the learners, so that all of them leave it out together. The algorithm reads
        `metrics.GRADIENT_FINITE` and stops the run; raising here would take a remote learner out of service, and the
        weights with it.
        """
        norm, self._norm = self._norm, None
        finite = bool(torch.isfinite(_norm(gradients_dict) if norm is None else norm))
        self.metrics.log_value((DEFAULT_MODULE_ID, metrics.GRADIENT_FINITE), float(finite), reduce="min", window=1)
        if finite:
            super().apply_gradients(gradients_dict)


def _norm(gradients: Mapping[Any, torch.Tensor]) -> torch.Tensor:
    """Of all gradients together, whoever has them."""
    return whole(torch.nn.utils.get_total_norm(gradients.values()))
