"""`TokenScorer`: per-token figures of given completions, under a Hugging Face causal LM.

It returns figures, never logits: these exist for a few tokens at a time (`objectives.chunked_head`).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from aepo_rllib.columns import Columns
from aepo_rllib.models.attention import avoid_cudnn_attention
from aepo_rllib.models.layers import recompute_activations
from aepo_rllib.models.prompt_cache import PromptCache
from aepo_rllib.objectives.chunked_head import head_statistics
from aepo_rllib.objectives.entropy import TokenStatistics, token_statistics

logger = logging.getLogger(__name__)

FIGURES = {
    Columns.POLICY_LOGP: "logp",
    Columns.ENTROPY: "entropy",
    Columns.LOGIT_VARIANCE: "logit_variance",
    Columns.HEATED_LOGP: "heated_logp",
}
"""What can be read of a token, and its field of `TokenStatistics`."""

LENGTH_PARTS = 4
ROWS_PER_PART = 16
"""Fewest rows a part of like lengths is worth a forward pass of its own."""
TOLERANCE = {8: 1e-3, 4: 1e-3, 2: 0.5}
"""Largest difference of two forms' log-probs that is rounding, in nats, by bytes of what they are computed in."""

BENDING = ("final_logit_softcapping", "logit_scale", "logits_scaling")
"""Options of models whose logits are more than a matrix product."""

Batch = Mapping[str, torch.Tensor]


class TokenScorer(torch.nn.Module):
    """Scores completions with the model it is given.

    Args:
        model: A causal LM. It is neither copied nor moved.
        half: 16-bit type that forward passes run in, by autocast; None: the weights' own.
        share_prompts: Run each distinct prompt once and let its completions attend to its cache (1.5-2.1 times
            faster than padded rows, same gradient). Tried against padded rows at the first use, which take over where
            a model's cache cannot do it.
        checkpoint: Keep only the inputs of decoder layers for the backward pass.

    Attributes:
        length_parts: In how many parts of like length a pass may run. With 1 every batch takes equally many forward
            passes of the layers, which learners that share their weights depend on.
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
        self.model, self.autocast_to, self.checkpoint, self.length_parts = model, half, checkpoint, LENGTH_PARTS
        self._may_share = share_prompts

    def forward(
        self, batch: Batch, reads: Collection[str] = (Columns.POLICY_LOGP,), *, temperature: float = 1.0
    ) -> dict[str, torch.Tensor]:
        """Figures of every completion token.

        Args:
            batch: The `PROMPT_*` and `COMPLETION_*` columns and `PROMPT_INDEX`, see `Columns`; at least one row.
            reads: Names of `FIGURES`. `POLICY_LOGP` comes always; nothing else is computed unasked.
            temperature: Of `HEATED_LOGP`.

        Returns:
            Each (N, T), in float32 (float64 of a float64 model), 0 on padding. `POLICY_LOGP` and `ENTROPY` carry
            gradients.

        Raises:
            ValueError: a name that is not in `FIGURES`.
        """
        if unknown := sorted(set(reads) - set(FIGURES)):
            raise ValueError(f"cannot read {', '.join(unknown)} of a token; choose of {', '.join(FIGURES)}")
        width = batch[Columns.COMPLETION_IDS].shape[1]
        form = _Form(shared=self.share_prompts, fused=self.head_is_linear)
        figures = self._figures(_two_wide(batch), reads, temperature, form, self.autocast_to)
        return figures if width > 1 else {name: figure[:, :width].clone() for name, figure in figures.items()}

    @functools.cached_property
    def head_is_linear(self) -> bool:
        """Whether logits are a matrix product of the last hidden states; softcaps and scales of logits are not.

        A softcap bends small logits too little to be seen on a few tokens, and those of a trained model much.
        """
        config = self.model.config.get_text_config()
        bent = any(getattr(config, name, None) not in (None, 1) for name in BENDING)
        return not bent and self._agree(_Form(fused=True), _Form()) is None

    @functools.cached_property
    def share_prompts(self) -> bool:
        """Whether prompts are shared; sliding-window and recurrent caches may not be able to."""
        if not self._may_share:
            return False
        complaint = self._agree(_Form(shared=True, fused=self.head_is_linear), _Form(fused=self.head_is_linear))
        if complaint is not None:
            logger.warning("prompts are not shared in the learner: %s", complaint)
        return complaint is None

    @torch.no_grad()
    def _agree(self, form: _Form, plain: _Form) -> str | None:
        """What is wrong with a form, tried on a few tokens in the weights' own precision; None if nothing."""
        batch = _trial_batch(self.model)

        def logp(form: _Form) -> torch.Tensor:
            return self._figures(batch, (), 1.0, form, None)[Columns.POLICY_LOGP]

        expected = logp(plain)
        try:
            error = (logp(form) - expected).abs().max().item()
        except (AttributeError, NotImplementedError, TypeError, RuntimeError, ValueError) as failure:
            return f"this model's cache cannot ({failure})"
        weight = self.model.get_output_embeddings().weight
        return None if error < TOLERANCE[weight.dtype.itemsize] else f"log-probs would be off by {error:.2g}"

    def _figures(
        self, batch: Batch, reads: Collection[str], temperature: float, form: _Form, half: torch.dtype | None
    ) -> dict[str, torch.Tensor]:
        fields = {name: FIGURES[name] for name in (Columns.POLICY_LOGP, *reads)}
        figures: dict[str, torch.Tensor] = {}
        # What is computed again makes its 16-bit weights again: a cache would hold a copy of every one.
        cached = not self.checkpoint
        with torch.autocast(self.model.device.type, dtype=half, enabled=half is not None, cache_enabled=cached):
            for part in (self._shared if form.shared else self._padded)(batch, form.fused):
                real_BT = batch[Columns.COMPLETION_MASK][part.rows, : part.ids.shape[1]]
                statistics = self._statistics(part, real_BT, form.fused, half, fields.values(), temperature)
                places = part.rows[real_BT.nonzero()[:, 0]], real_BT.nonzero()[:, 1]
                for name, field in fields.items():
                    values_K = getattr(statistics, field)
                    if name not in figures:
                        figures[name] = values_K.new_zeros(batch[Columns.COMPLETION_IDS].shape)
                    figures[name] = figures[name].index_put(places, values_K)
        return figures

    def _statistics(
        self,
        part: _Part,
        real_BT: torch.Tensor,
        fused: bool,
        half: torch.dtype | None,
        reads: Collection[str],
        temperature: float,
    ) -> TokenStatistics:
        """Of the part's real tokens."""
        features_KX, ids_K = part.features[real_BT], part.ids[real_BT]
        if not fused:
            return token_statistics(features_KX, ids_K, reads, temperature=temperature)
        head = self.model.get_output_embeddings()
        dtype = half or head.weight.dtype
        bias = getattr(head, "bias", None)
        return head_statistics(
            features_KX.to(dtype),
            head.weight.to(dtype),
            None if bias is None else bias.to(dtype),
            ids_K,
            reads,
            temperature=temperature,
        )

    def _run(self, fused: bool, keep: int, **inputs: Any) -> torch.Tensor:
        """The last `keep` hidden states of every row, (rows, keep, D), or logits where the head is not fused."""
        if fused:
            return self.model.base_model(**inputs).last_hidden_state[:, -keep:]
        return self.model(**inputs, logits_to_keep=keep).logits

    def _padded(self, batch: Batch, fused: bool) -> Iterator[_Part]:
        """The plain form: prompt and completion in one row."""
        completion_ids = batch[Columns.COMPLETION_IDS]
        mask = torch.cat([batch[Columns.PROMPT_MASK], batch[Columns.COMPLETION_MASK]], dim=1).long()
        features = self._run(
            fused,
            completion_ids.shape[1] + 1,
            input_ids=torch.cat([batch[Columns.PROMPT_IDS], completion_ids], dim=1),
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp_min(0),
            use_cache=False,
        )
        yield _Part(torch.arange(len(mask), device=mask.device), completion_ids, features[:, :-1])

    def _shared(self, batch: Batch, fused: bool) -> Iterator[_Part]:
        """Each distinct prompt once; its completions attend to its keys and values through autograd.

        Completions run in a few parts of like length, so that short ones are not padded to the longest.
        """
        _, prompt_of_row = batch[Columns.PROMPT_INDEX].unique(return_inverse=True)
        first_row = prompt_of_row.new_zeros(int(prompt_of_row.max()) + 1)
        first_row[prompt_of_row.flip(0)] = torch.arange(len(prompt_of_row), device=first_row.device).flip(0)
        mask = batch[Columns.PROMPT_MASK][first_row].long()
        cache = PromptCache(self.model.config)
        last = self._run(
            fused,
            1,
            input_ids=batch[Columns.PROMPT_IDS][first_row],
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp_min(0),
            past_key_values=cache,
            use_cache=True,
        )
        lengths = batch[Columns.COMPLETION_MASK].sum(1)
        for rows in lengths.argsort().tensor_split(max(1, min(self.length_parts, len(lengths) // ROWS_PER_PART))):
            width = max(int(lengths[rows].max()), 2)  # never nothing to go on with, see `length_parts`
            prompt = prompt_of_row[rows]
            ids = batch[Columns.COMPLETION_IDS][rows, :width]
            real = batch[Columns.COMPLETION_MASK][rows, : width - 1].long()
            following = self._run(
                fused,
                width - 1,
                input_ids=ids[:, :-1],
                attention_mask=torch.cat([mask[prompt], real], dim=1),
                position_ids=mask[prompt].sum(1, keepdim=True) + torch.arange(width - 1, device=ids.device),
                past_key_values=cache.continued(prompt),
                use_cache=True,
            )
            yield _Part(rows, ids, torch.cat([last[prompt], following], dim=1))


class _Form(NamedTuple):
    """How figures are computed: with shared prompts; with a head that never shows its logits."""

    shared: bool = False
    fused: bool = False


class _Part(NamedTuple):
    """Rows that went through the model together: their places in the batch, token ids (rows, width), and what says the
    law of each, hidden states (rows, width, D) or logits (rows, width, V)."""

    rows: torch.Tensor
    ids: torch.Tensor
    features: torch.Tensor


def _two_wide(batch: Batch) -> Batch:
    """The same batch with room for two completion tokens in every row."""
    missing = max(0, 2 - batch[Columns.COMPLETION_IDS].shape[1])
    columns = (Columns.COMPLETION_IDS, Columns.COMPLETION_MASK)
    return {**batch, **{name: torch.nn.functional.pad(batch[name], (0, missing)) for name in columns if missing}}


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
