"""Prompts and completions side by side in one row of tokens: every distinct prompt once, and no padding.

Everything in a decoder layer but attention looks at one token at a time, so that a row may hold any number of
sequences. Attention is told who sees whom (`packed_attention`): a completion sees its prompt and itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from aepo_rllib.columns import Columns

LENGTH_PARTS = 4
ROWS_PER_PART = 16
"""Fewest completions that a block of their own is worth: one of like lengths has less padding."""


@dataclass(frozen=True, eq=False)
class Block:
    """Sequences of queries, padded on the right, and what they see: keys of other sequences, and then their own.

    Attributes:
        queries: (R, Q) places in the packed row; of padding, some place.
        keys: (R, K) likewise; the first query's own key follows those of the others.
        before: (R,) how many keys others give.
        real: Places of the real queries in `queries`, flattened; in the order of the packed row.
        lengths: (R,) how many queries are real.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    before: torch.Tensor
    real: torch.Tensor
    lengths: torch.Tensor
    _masks: dict[tuple[torch.dtype, int | None], torch.Tensor] = field(default_factory=dict, init=False)

    def mask(self, dtype: torch.dtype, window: int | None = None) -> torch.Tensor:
        """What is added to scores, (R, 1, Q, K): 0 where a query sees a key, the least number elsewhere.

        Made once, for all layers. A query of padding sees something, too: a softmax over nothing is NaN.

        Args:
            dtype: Of the scores.
            window: A query sees so many of the last keys only; None: all.
        """
        if (dtype, window) not in self._masks:
            places_K = torch.arange(self.keys.shape[1], device=self.keys.device)
            last_RQ1 = (self.before[:, None] + torch.arange(self.queries.shape[1], device=self.keys.device))[..., None]
            seen_RQK = places_K <= last_RQ1
            if window is not None:
                seen_RQK &= places_K > last_RQ1 - window
            mask = torch.zeros(seen_RQK.shape, dtype=dtype, device=self.keys.device)
            self._masks[dtype, window] = mask.masked_fill_(~seen_RQK, torch.finfo(dtype).min)[:, None]
        return self._masks[dtype, window]

    @property
    def key_lengths(self) -> torch.Tensor:
        """(R,) how many keys are real."""
        return self.before + self.lengths


@dataclass(frozen=True, eq=False)
class Packing:
    """S tokens of a batch in one row.

    Attributes:
        ids: (1, S) tokens: all prompts, then of all completions, the shortest first, what is gone on from: all but
            the last token.
        positions: (1, S) of each in its sequence.
        blocks: Of prompts, and of completions where some have more than one token.
        sources: (K,) for each completion token, in the order of rows, the place whose hidden state says its law.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    blocks: tuple[Block, ...]
    sources: torch.Tensor


def pack(batch: Mapping[str, torch.Tensor]) -> Packing:
    """The packing of a batch.

    Args:
        batch: The `PROMPT_*` and `COMPLETION_*` columns and `PROMPT_INDEX`, see `Columns`; at least one row.
    """
    _, prompt_of_row = batch[Columns.PROMPT_INDEX].unique(return_inverse=True)
    first_row = prompt_of_row.new_zeros(int(prompt_of_row.max()) + 1)
    first_row[prompt_of_row.flip(0)] = torch.arange(len(prompt_of_row), device=first_row.device).flip(0)
    prompt_mask, real_NT = batch[Columns.PROMPT_MASK][first_row], batch[Columns.COMPLETION_MASK]
    order_N = real_NT.sum(1).argsort(stable=True)
    fed_NT = real_NT[order_N, 1:]
    completions_S = batch[Columns.COMPLETION_IDS][order_N, :-1][fed_NT]
    prompt_lengths, lengths_N, prompt_of_row = prompt_mask.sum(1), fed_NT.sum(1), prompt_of_row[order_N]
    blocks = blocks_of(prompt_lengths, prompt_of_row, lengths_N)
    sources_NT = _sources(prompt_lengths, prompt_of_row, lengths_N, real_NT.shape[1])[order_N.argsort()]
    return Packing(
        torch.cat([batch[Columns.PROMPT_IDS][first_row][prompt_mask], completions_S])[None],
        torch.cat([_positions(block) for block in blocks])[None],
        blocks,
        sources_NT[real_NT],
    )


def blocks_of(prompt_lengths: torch.Tensor, prompt_of_row: torch.Tensor, lengths_N: torch.Tensor) -> tuple[Block, ...]:
    """Blocks of prompts and completions that stand side by side in this order, of these numbers of tokens.

    Args:
        prompt_lengths: (P,), of each prompt.
        prompt_of_row: (N,) which prompt a completion has.
        lengths_N: Of completions, ascending.
    """
    prompt_starts, starts_N = _starts(prompt_lengths), _starts(lengths_N) + prompt_lengths.sum()
    blocks = [_block(prompt_starts, prompt_lengths, prompt_starts[:0], torch.zeros_like(prompt_lengths))]
    rows = lengths_N.nonzero()[:, 0]
    for part in rows.tensor_split(max(1, min(LENGTH_PARTS, len(rows) // ROWS_PER_PART))):
        if len(part):
            prompt = prompt_of_row[part]
            blocks.append(_block(starts_N[part], lengths_N[part], prompt_starts[prompt], prompt_lengths[prompt]))
    return tuple(blocks)


def _sources(
    prompt_lengths: torch.Tensor, prompt_of_row: torch.Tensor, lengths_N: torch.Tensor, width: int
) -> torch.Tensor:
    """(N, width) for each token of a completion the place before it; of padding, anything."""
    starts_N = _starts(lengths_N) + prompt_lengths.sum()
    last_N1 = (prompt_lengths.cumsum(0) - 1)[prompt_of_row][:, None]
    following_NT = starts_N[:, None] + torch.arange(width, device=starts_N.device)
    return torch.cat([last_N1, following_NT], dim=1)[:, :width]


def _starts(lengths: torch.Tensor) -> torch.Tensor:
    return lengths.cumsum(0) - lengths


def _block(starts: torch.Tensor, lengths: torch.Tensor, others: torch.Tensor, before: torch.Tensor) -> Block:
    """Sequences that start there, of these lengths, each after `before` keys that start at `others`."""
    steps_Q = torch.arange(int(lengths.max()), device=lengths.device)
    queries_RQ = (starts[:, None] + steps_Q.minimum(lengths[:, None] - 1)).clamp_min(0)
    real = (steps_Q < lengths[:, None]).flatten().nonzero()[:, 0]
    if not len(others):
        return Block(queries_RQ, queries_RQ, before, real, lengths)
    steps_K = torch.arange(int((before + lengths).max()), device=lengths.device)
    own_RK = starts[:, None] + (steps_K - before[:, None]).minimum(lengths[:, None] - 1)
    keys_RK = torch.where(steps_K < before[:, None], others[:, None] + steps_K, own_RK)
    return Block(queries_RQ, keys_RK, before, real, lengths)


def _positions(block: Block) -> torch.Tensor:
    """Of the real queries, each in its sequence."""
    steps_RQ = block.before[:, None] + torch.arange(block.queries.shape[1], device=block.queries.device)
    return steps_RQ.flatten()[block.real]
