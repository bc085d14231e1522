"""What a learner reads of its batch: the rows of each pass, and the tokens of each stream."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch

from aepo_rllib.columns import Columns
from aepo_rllib.objectives.parts import Tokens

LIVE_COLUMNS = {
    "entropy": Columns.ENTROPY,
    "core_entropy": Columns.CORE_ENTROPY,
    "tempered_logp": Columns.HEATED_LOGP,
}
"""Fields of `Tokens` that the forward pass gives; it gives the log-prob anyway."""
SCORED_COLUMNS = {"ref_logp": Columns.REF_LOGP, "heated_logp": Columns.HEATED_LOGP}
"""Those that come with the batch."""
COMPLETION_COLUMNS = {
    Columns.COMPLETION_IDS,
    Columns.COMPLETION_MASK,
    Columns.POLICY_LOGP,
    Columns.OLD_LOGP,
    Columns.ADVANTAGE,
    Columns.REF_LOGP,
    Columns.HEATED_LOGP,
    Columns.FACTOR,
}
"""Those whose last axis are completion tokens."""


def stream_tokens(
    forward: Mapping[str, torch.Tensor],
    batch: Mapping[str, torch.Tensor],
    rows_N: torch.Tensor,
    reads: Collection[str],
) -> Tokens:
    """What the losses of a stream read; padding, which may hold anything, NaN included, becomes 0."""
    mask_BT = batch[Columns.COMPLETION_MASK][rows_N]

    def real(values_NT: torch.Tensor) -> torch.Tensor:
        # Before the loss, not after: its own backward pass would make 0 * NaN of it.
        values_BT = values_NT[rows_N]
        return torch.where(mask_BT, values_BT, torch.zeros_like(values_BT))

    return Tokens(
        real(forward[Columns.POLICY_LOGP]),
        real(batch[Columns.OLD_LOGP]) if "old_logp" in reads else None,
        real(batch[Columns.ADVANTAGE]),
        mask_BT,
        **{name: real(forward[column]) for name, column in LIVE_COLUMNS.items() if name in reads},
        **{name: real(batch[column]) for name, column in SCORED_COLUMNS.items() if name in reads and column in batch},
    )


def passes_in(batch: Mapping[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """The rows of every pass, without the columns that are padding to all of them."""
    result = []
    pass_N = batch.get(Columns.PASS, torch.zeros_like(batch[Columns.STREAM]))
    for number in range(int(pass_N.max()) + 1):
        rows_N = pass_N == number
        part = {name: column[rows_N] for name, column in batch.items()}
        first = batch[Columns.PROMPT_IDS].shape[1] - int(part[Columns.PROMPT_MASK].sum(1).max())
        width = int(part[Columns.COMPLETION_MASK].sum(1).max())
        for name in (Columns.PROMPT_IDS, Columns.PROMPT_MASK):
            part[name] = part[name][:, first:]
        for name in COMPLETION_COLUMNS & part.keys():
            part[name] = part[name][..., :width]
        result.append(part)
    return result
