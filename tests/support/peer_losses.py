"""Losses of peers, computed as an optimizer step would: the parts of a method, dealt, weighted and selected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from aepo_rllib import GRPOConfig
from aepo_rllib.experience.dealing import Mean, deal
from aepo_rllib.experience.rows import Row
from aepo_rllib.objectives.losses import truncated_importance
from aepo_rllib.objectives.parts import MAIN, Method, Term, Tokens, term_values
from tests.support.goldens import golden_cases, tensor


class Ours(NamedTuple):
    """A peer's options in our words; `micro_batches` of one optimizer step share its mean over rows."""

    method: Method
    mean: Mean
    micro_batches: int = 1


OursOf = Callable[[dict[str, Any]], Ours]


def ours(config: GRPOConfig, max_length: int = 5, micro_batches: int = 1) -> Ours:
    """What a config minimises."""
    return Ours(config.method(), Mean(config.aggregation, max_length), micro_batches)


def with_term(given: Ours, **terms: Term) -> Ours:
    """One more term over the main rows, or another main term."""
    return given._replace(method=replace(given.method, terms={**given.method.terms, **terms}))


def loss_cases(peer: str, prefix: str, ours_of: OursOf) -> list[Any]:
    """Parameters for pytest: (case, its options in our words)."""
    return [pytest.param(case, ours_of(case["args"]), id=id_) for (case,), _, id_ in golden_cases(peer, prefix)]


def importance(case: dict[str, Any]) -> torch.Tensor | None:
    if "rollout_is_threshold" not in case["args"]:
        return None
    cap = case["args"]["rollout_is_threshold"]
    return truncated_importance(tensor(case, "old_log_prob"), tensor(case, "rollout_log_prob"), cap)


def tokens_of(case: dict[str, Any]) -> Tokens:
    """The rows of a case, zero on padding; log-probs and entropies are leaves."""
    mask_BT = tensor(case, "response_mask").bool()

    def real(name: str) -> torch.Tensor | None:
        return tensor(case, name) * mask_BT if name in case["inputs"] else None

    logp_BT, old_logp_BT, entropy_BT = real("log_prob"), real("old_log_prob"), real("entropies")
    assert logp_BT is not None
    assert old_logp_BT is not None
    advantage = tensor(case, "advantages")
    advantage_BT = (advantage if advantage.ndim == 2 else advantage.unsqueeze(1)) * mask_BT
    entropy_BT = None if entropy_BT is None else entropy_BT.requires_grad_()
    return Tokens(logp_BT.requires_grad_(), old_logp_BT, advantage_BT, mask_BT, entropy_BT, real("ref_log_prob"))


def weights(tokens: Tokens, given: Ours) -> torch.Tensor:
    """What the algorithm would multiply the rows' sums by in every term."""
    rows = [Row([1], np.zeros(int(length)), np.zeros(int(length)), 1.0) for length in tokens.mask.sum(1)]
    [[dealt]] = deal({MAIN: [rows] * given.micro_batches}, given.method, given.mean, updates=1, learners=1)
    return torch.tensor([row.weights for row in dealt[: len(rows)]], dtype=torch.float64)


def factors(case: dict[str, Any], tokens: Tokens, method: Method) -> torch.Tensor | None:
    """What the algorithm would multiply token losses by in every term."""
    weighted, seen = importance(case), tokens._replace(logp=tokens.logp.detach())
    factor_BKT = torch.ones(len(tokens.mask), len(method.terms), tokens.mask.shape[1], dtype=torch.float64)
    if weighted is not None:
        factor_BKT = factor_BKT * weighted.unsqueeze(1)
    for place, term in enumerate(method.terms.values()):
        if term.select is not None:
            factor_BKT[:, place] *= term.select(seen, torch.Generator())
    return factor_BKT


def loss_of(case: dict[str, Any], given: Ours, tokens: Tokens) -> torch.Tensor:
    values = term_values(given.method.terms, tokens, weights(tokens, given), factors(case, tokens, given.method))
    return torch.stack(list(values.values())).sum()


def gradient(case: dict[str, Any], given: Ours) -> torch.Tensor:
    """On the log-probs."""
    tokens = tokens_of(case)
    return torch.autograd.grad(loss_of(case, given, tokens), tokens.logp)[0]


def assert_the_peers(case: dict[str, Any], given: Ours) -> None:
    """Loss and gradients are the case's."""
    tokens = tokens_of(case)
    loss = loss_of(case, given, tokens)
    leaves = [tokens.logp] if "grad_entropies" not in case["outputs"] else [tokens.logp, tokens.entropy]
    found = dict(zip(("grad_log_prob", "grad_entropies"), torch.autograd.grad(loss, leaves), strict=False))
    for name, value in {"loss": loss.detach(), **found}.items():
        torch.testing.assert_close(value, tensor(case, name), atol=case["tolerance"], rtol=0)
