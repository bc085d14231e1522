"""`TokenScorer`: per-token figures of given completions, under a Hugging Face causal LM.

It returns figures, never logits: these exist for a few tokens at a time (`objectives.chunked_head`).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from aepo_rllib.columns import Columns
from aepo_rllib.models.attention import avoid_cudnn_attention
from aepo_rllib.models.layers import recompute_activations
from aepo_rllib.models.packed_attention import pack_attention, packed_inputs, unpack_attention
from aepo_rllib.models.packing import pack
from aepo_rllib.objectives.chunked_head import head_statistics
from aepo_rllib.objectives.entropy import TokenStatistics, token_statistics

logger = logging.getLogger(__name__)

FIGURES = {
    Columns.POLICY_LOGP: "logp",
    Columns.ENTROPY: "entropy",
    Columns.LOGIT_VARIANCE: "logit_variance",
    Columns.HEATED_LOGP: "heated_logp",
    Columns.CORE_ENTROPY: "core_entropy",
}
"""What can be read of a token, and its field of `TokenStatistics`."""

TOLERANCE = {8: 1e-3, 4: 1e-3, 2: 0.5}
"""Largest difference of two forms' log-probs that is rounding, in nats, by bytes of what they are computed in."""
LEAK = {8: 1e-12, 4: 1e-6, 2: 1e-2}
"""Likewise, of a row's log-probs beside other rows: experts round by how many tokens they get, nobody else."""

BENDING = ("final_logit_softcapping", "logit_scale", "logits_scaling")
"""Options of models whose logits are more than a matrix product."""

Batch = Mapping[str, torch.Tensor]


class TokenScorer(torch.nn.Module):
    """Scores completions with the model it is given.

    Args:
        model: A causal LM. It is neither copied nor moved.
        half: 16-bit type that forward passes run in, by autocast; None: the weights' own.
        share_prompts: Run each distinct prompt once, and all tokens in one row without padding, where completions
            attend to their prompts (1.5-2.1 times faster than padded rows, same gradient). Tried against padded rows
            at the first use, which take over where a model's attention cannot do it.
        checkpoint: Keep only the inputs of decoder layers for the backward pass.

    Either way a batch takes one forward pass of every layer, which learners that share their weights depend on.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        half: torch.dtype | None = None,
        share_prompts: bool = True,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        avoid_cudnn_attention()
        if checkpoint:
            recompute_activations(model)
        if share_prompts:
            pack_attention(model)
        self.model, self.autocast_to, self.checkpoint, self._may_share = model, half, checkpoint, share_prompts

    def forward(
        self, batch: Batch, reads: Collection[str] = (Columns.POLICY_LOGP,), *, temperature: float = 1.0
    ) -> dict[str, torch.Tensor]:
        """Figures of every completion token.

        Args:
            batch: The `PROMPT_*` and `COMPLETION_*` columns and `PROMPT_INDEX`, see `Columns`; at least one row.
            reads: Names of `FIGURES`. `POLICY_LOGP` comes always; nothing else is computed unasked.
            temperature: Of `HEATED_LOGP`, where the batch has no column of them.

        Returns:
            Each (N, T), in float32 (float64 of a float64 model), 0 on padding. `LOGIT_VARIANCE` alone has no
            gradient.

        Raises:
            ValueError: a name that is not in `FIGURES`.
        """
        if unknown := sorted(set(reads) - set(FIGURES)):
            raise ValueError(f"cannot read {', '.join(unknown)} of a token; choose of {', '.join(FIGURES)}")
        form = _Form(shared=self.share_prompts, fused=self.head_is_linear)
        return self._figures(batch, reads, temperature, form, self.autocast_to)

    @functools.cached_property
    def head_is_linear(self) -> bool:
        """Whether logits are a matrix product of the last hidden states; softcaps and scales of logits are not.

        A softcap bends small logits too little to be seen on a few tokens, and those of a trained model much.
        """
        config = self.model.config.get_text_config()
        bent = any(getattr(config, name, None) not in (None, 1) for name in BENDING)
        return not bent and self._agree(_Form(fused=True), self._tried(_Form())) is None

    @functools.cached_property
    def share_prompts(self) -> bool:
        """Whether prompts are shared; recurrent layers and attention of unusual kinds are not able to."""
        if not self._may_share:
            return False
        unpack_attention(self.model)
        shared, plain = (_Form(shared=shared, fused=self.head_is_linear) for shared in (True, False))
        expected = self._tried(plain)
        pack_attention(self.model)
        complaint = self._agree(shared, expected) or self._leak(shared)
        if complaint is not None:
            unpack_attention(self.model)
            logger.warning("prompts are not shared in the learner: %s", complaint)
        return complaint is None

    @torch.no_grad()
    def _tried(self, form: _Form) -> torch.Tensor:
        """Log-probs of a few tokens in the weights' own precision."""
        return self._log_probs(_trial_batch(self.model), form)

    def _agree(self, form: _Form, expected: torch.Tensor) -> str | None:
        """What is wrong with a form whose `_tried` should be this; None if nothing."""
        try:
            error = (self._tried(form) - expected).abs().max().item()
        except (AttributeError, NotImplementedError, TypeError, RuntimeError, ValueError) as failure:
            return f"this model's attention cannot ({failure})"
        weight = self.model.get_output_embeddings().weight
        return None if error < TOLERANCE[weight.dtype.itemsize] else f"log-probs would be off by {error:.2g}"

    @torch.no_grad()
    def _leak(self, form: _Form) -> str | None:
        """What is wrong where a row's log-probs depend on rows beside it: new weights may hide it from `_agree`."""
        batch = _trial_batch(self.model)
        other = {name: column.clone() for name, column in batch.items()}
        for name in (Columns.PROMPT_IDS, Columns.COMPLETION_IDS):
            other[name][:2] = batch[name][:2].flip(1)
        error = (self._log_probs(batch, form) - self._log_probs(other, form))[2].abs().max().item()
        weight = self.model.get_output_embeddings().weight
        return None if error <= LEAK[weight.dtype.itemsize] else f"rows would see other rows ({error:.2g} nats)"

    def _log_probs(self, batch: Batch, form: _Form) -> torch.Tensor:
        return self._figures(batch, (), 1.0, form, None)[Columns.POLICY_LOGP]

    def _figures(
        self, batch: Batch, reads: Collection[str], temperature: float, form: _Form, half: torch.dtype | None
    ) -> dict[str, torch.Tensor]:
        fields = {name: FIGURES[name] for name in (Columns.POLICY_LOGP, *reads)}
        real_NT = batch[Columns.COMPLETION_MASK]
        places = real_NT.nonzero(as_tuple=True)
        heat = batch[Columns.TEMPERATURE][places[0]] if Columns.TEMPERATURE in batch else temperature
        # What is computed again makes its 16-bit weights again: a cache would hold a copy of every one.
        cached = not self.checkpoint
        with torch.autocast(self.model.device.type, dtype=half, enabled=half is not None, cache_enabled=cached):
            features = (self._packed if form.shared else self._padded)(batch, form.fused)
            ids_K = batch[Columns.COMPLETION_IDS][real_NT]
            statistics = self._statistics(features, ids_K, form.fused, half, fields.values(), heat)
        figures = {}
        for name, field in fields.items():
            values_K = getattr(statistics, field)
            figures[name] = values_K.new_zeros(real_NT.shape).index_put(places, values_K)
        return figures

    def _statistics(
        self,
        features: torch.Tensor,
        ids_K: torch.Tensor,
        fused: bool,
        half: torch.dtype | None,
        reads: Collection[str],
        temperature: float | torch.Tensor,
    ) -> TokenStatistics:
        """Of tokens, from what says the law of each: hidden states (K, D), or logits (K, V) without a fused head."""
        if not fused:
            return token_statistics(features, ids_K, reads, temperature=temperature)
        head = self.model.get_output_embeddings()
        hidden = features.to(half or head.weight.dtype)
        return head_statistics(hidden, head.weight, getattr(head, "bias", None), ids_K, reads, temperature=temperature)

    def _packed(self, batch: Batch, fused: bool) -> torch.Tensor:
        """Hidden states or logits (K, ...) for every completion token, from all tokens in one row."""
        pack_attention(self.model)  # again, where somebody has chosen another kernel since
        packing = pack(batch)
        inputs = packed_inputs(packing)
        if not fused:
            return self.model(**inputs, logits_to_keep=packing.sources).logits[0]
        return self.model.base_model(**inputs).last_hidden_state[0].index_select(0, packing.sources)

    def _padded(self, batch: Batch, fused: bool) -> torch.Tensor:
        """Likewise, the plain form: prompt and completion in one row each."""
        completion_ids, real_NT = batch[Columns.COMPLETION_IDS], batch[Columns.COMPLETION_MASK]
        mask = torch.cat([batch[Columns.PROMPT_MASK], real_NT], dim=1).long()
        inputs = {
            "input_ids": torch.cat([batch[Columns.PROMPT_IDS], completion_ids], dim=1),
            "attention_mask": mask,
            "position_ids": (mask.cumsum(1) - 1).clamp_min(0),
            "use_cache": False,
        }
        keep = completion_ids.shape[1] + 1
        if fused:
            features = self.model.base_model(**inputs).last_hidden_state[:, -keep:]
        else:
            features = self.model(**inputs, logits_to_keep=keep).logits
        return features[:, :-1][real_NT]


class _Form(NamedTuple):
    """How figures are computed: with shared prompts; with a head that never shows its logits."""

    shared: bool = False
    fused: bool = False


def _trial_batch(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Three rows of two prompts, one of them padded."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.get_text_config().vocab_size
    batch = {
        Columns.PROMPT_IDS: torch.randint(vocabulary, (2, 6), generator=generator)[[0, 0, 1]],
        Columns.PROMPT_MASK: torch.tensor([[1] * 6, [1] * 6, [0, 0, 1, 1, 1, 1]], dtype=torch.bool),
        Columns.COMPLETION_IDS: torch.randint(vocabulary, (3, 4), generator=generator),
        Columns.COMPLETION_MASK: torch.ones(3, 4, dtype=torch.bool),
        Columns.PROMPT_INDEX: torch.tensor([0, 0, 1]),
    }
    return {name: tensor.to(model.device) for name, tensor in batch.items()}
