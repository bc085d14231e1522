"""Selections: which tokens of an optimizer step a term sees. Each looks at the rows of all learners at once.

The peers choose within a micro-batch, so that their choice depends on its size; here a batch has one choice.
"""

from __future__ import annotations

import torch

from aepo_rllib.objectives.parts import Tokens, reads


@reads("entropy")
def most_uncertain(t: Tokens, generator: torch.Generator, *, share: float = 0.2) -> torch.Tensor:
    """1 on the tokens of the highest entropy, the given share of all; ties with the last are in (arXiv 2506.01939)."""
    assert t.entropy is not None
    return (t.mask & (t.entropy >= t.entropy[t.mask].quantile(1 - share))).to(t.logp.dtype)
