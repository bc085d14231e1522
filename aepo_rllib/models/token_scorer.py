"""`TokenScorer`: per-token figures of given completions, under a Hugging Face causal LM.

It returns figures, never logits, so that a fused or chunked head can replace the simple one without a caller noticing.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import torch
from transformers import DynamicCache, PreTrainedModel

from aepo_rllib.columns import Columns
from aepo_rllib.models.attention import avoid_cudnn_attention
from aepo_rllib.objectives.entropy import token_statistics

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

Batch = Mapping[str, torch.Tensor]


class TokenScorer:
    """Scores completions with the model it is given.

    Args:
        model: A causal LM. It is neither copied nor moved.
        half: 16-bit type that forward passes run in, by autocast; None: the weights' own.
        share_prompts: Run each distinct prompt once and let its completions attend to its cache (1.5-2.1 times
            faster than padded rows, same gradient). Tried here against padded rows, which take over where a model's
            cache cannot do it.

    Attributes:
        share_prompts: Whether prompts are shared.
    """

    def __init__(self, model: PreTrainedModel, *, half: torch.dtype | None = None, share_prompts: bool = True) -> None:
        avoid_cudnn_attention()
        self.model, self.half = model, half
        self.share_prompts = share_prompts and self._can_share_prompts()

    def score(
        self, batch: Batch, reads: Collection[str] = (Columns.POLICY_LOGP,), *, temperature: float = 1.0
    ) -> dict[str, torch.Tensor]:
        """Figures of every completion token.

        Args:
            batch: The `PROMPT_*` and `COMPLETION_*` columns and `PROMPT_INDEX`, see `Columns`; at least one row.
            reads: Names of `FIGURES`. `POLICY_LOGP` comes always; nothing else is computed unasked.
            temperature: Of `HEATED_LOGP`.

        Returns:
            Each (N, T), in float32 (float64 of a float64 model); padding holds anything. `POLICY_LOGP` and `ENTROPY`
            carry gradients.

        Raises:
            ValueError: a name that is not in `FIGURES`.
        """
        if unknown := sorted(set(reads) - set(FIGURES)):
            raise ValueError(f"cannot read {', '.join(unknown)} of a token; choose of {', '.join(FIGURES)}")
        return self._figures(batch, reads, temperature, share_prompts=self.share_prompts)

    def _figures(
        self, batch: Batch, reads: Collection[str], temperature: float, *, share_prompts: bool
    ) -> dict[str, torch.Tensor]:
        fields = {name: FIGURES[name] for name in (Columns.POLICY_LOGP, *reads)}
        figures: dict[str, torch.Tensor] = {}
        with torch.autocast(self.model.device.type, dtype=self.half, enabled=self.half is not None):
            for rows, ids, logits in (self._shared if share_prompts else self._padded)(batch):
                statistics = token_statistics(logits, ids, fields.values(), temperature=temperature)
                del logits  # a vocabulary wide: makes room for those of the next part
                for name, field in fields.items():
                    part = getattr(statistics, field)
                    if name not in figures:
                        figures[name] = part.new_zeros(batch[Columns.COMPLETION_IDS].shape)
                    figures[name][rows, : ids.shape[1]] = part
        return figures

    def _padded(self, batch: Batch) -> Iterator[_Part]:
        """The plain form: prompt and completion in one row."""
        completion_ids = batch[Columns.COMPLETION_IDS]
        mask = torch.cat([batch[Columns.PROMPT_MASK], batch[Columns.COMPLETION_MASK]], dim=1).long()
        yield _Part(
            torch.arange(len(mask), device=mask.device),
            completion_ids,
            self.model(
                input_ids=torch.cat([batch[Columns.PROMPT_IDS], completion_ids], dim=1),
                attention_mask=mask,
                position_ids=(mask.cumsum(1) - 1).clamp_min(0),
                use_cache=False,
                logits_to_keep=completion_ids.shape[1] + 1,
            ).logits[:, :-1],
        )

    def _shared(self, batch: Batch) -> Iterator[_Part]:
        """Each distinct prompt once; its completions attend to its keys and values through autograd.

        Completions run in a few parts of like length, so that short ones are not padded to the longest.
        """
        _, prompt_of_row = batch[Columns.PROMPT_INDEX].unique(return_inverse=True)
        first_row = prompt_of_row.new_zeros(int(prompt_of_row.max()) + 1)
        first_row[prompt_of_row.flip(0)] = torch.arange(len(prompt_of_row), device=first_row.device).flip(0)
        mask = batch[Columns.PROMPT_MASK][first_row].long()
        cache = DynamicCache(config=self.model.config)
        first_logits = self.model(
            input_ids=batch[Columns.PROMPT_IDS][first_row],
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp_min(0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        lengths = batch[Columns.COMPLETION_MASK].sum(1)
        for rows in lengths.argsort().tensor_split(max(1, min(LENGTH_PARTS, len(lengths) // ROWS_PER_PART))):
            width = int(lengths[rows].max())
            prompt = prompt_of_row[rows]
            ids = batch[Columns.COMPLETION_IDS][rows, :width]
            real = batch[Columns.COMPLETION_MASK][rows, :width].long()
            prompts = _Prompts(first_logits[prompt, :width], _rows_of(cache, prompt), mask[prompt])
            yield _Part(rows, ids, self._continue(prompts, ids, real))

    def _continue(self, prompts: _Prompts, ids: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Logits of completion tokens; `ids` and their mask `real` are (rows, width)."""
        if ids.shape[1] < 2:
            return prompts.last_logits
        steps = torch.arange(ids.shape[1] - 1, device=ids.device)
        following = self.model(
            input_ids=ids[:, :-1],
            attention_mask=torch.cat([prompts.mask, real[:, :-1]], dim=1),
            position_ids=prompts.mask.sum(1, keepdim=True) + steps,
            past_key_values=prompts.cache,
            use_cache=True,
        ).logits
        return torch.cat([prompts.last_logits, following], dim=1)

    @torch.no_grad()
    def _can_share_prompts(self) -> bool:
        """Whether both forms agree on a few tokens; sliding-window and recurrent caches may not."""
        batch = _trial_batch(self.model)
        padded = self._figures(batch, (), 1.0, share_prompts=False)[Columns.POLICY_LOGP]
        tolerance = 1e-3 if self.half is None else 0.5
        try:
            shared = self._figures(batch, (), 1.0, share_prompts=True)[Columns.POLICY_LOGP]
            error = (shared - padded).abs().max().item()
        except (AttributeError, NotImplementedError, TypeError, RuntimeError, ValueError) as failure:
            logger.warning("prompts are not shared in the learner: this model's cache cannot (%s)", failure)
            return False
        if not error < tolerance:
            logger.warning("prompts are not shared in the learner: log-probs would be off by %.2g", error)
            return False
        return True


class _Part(NamedTuple):
    """Rows that went through the model together: their places in the batch, token ids (rows, width) and logits."""

    rows: torch.Tensor
    ids: torch.Tensor
    logits: torch.Tensor


class _Prompts(NamedTuple):
    """The prompt of every row, after its pass: logits of what follows it (rows, 1, V), cache and mask."""

    last_logits: torch.Tensor
    cache: DynamicCache
    mask: torch.Tensor


def _rows_of(cache: DynamicCache, rows: torch.Tensor) -> DynamicCache:
    """A cache of its own with some rows of another; gradients flow back to it."""
    selected = copy.copy(cache)
    selected.layers = [copy.copy(layer) for layer in cache.layers]
    selected.batch_select_indices(rows)
    return selected


def _trial_batch(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Three rows of two prompts, one of them padded."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    batch = {
        Columns.PROMPT_IDS: torch.randint(vocabulary, (2, 6), generator=generator)[[0, 0, 1]],
        Columns.PROMPT_MASK: torch.tensor([[1] * 6, [1] * 6, [0, 0, 1, 1, 1, 1]], dtype=torch.bool),
        Columns.COMPLETION_IDS: torch.randint(vocabulary, (3, 4), generator=generator),
        Columns.COMPLETION_MASK: torch.ones(3, 4, dtype=torch.bool),
        Columns.PROMPT_INDEX: torch.tensor([0, 0, 1]),
    }
    return {name: tensor.to(model.device) for name, tensor in batch.items()}
