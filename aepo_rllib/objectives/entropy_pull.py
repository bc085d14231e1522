"""Where a learned token pulls the entropy of its state, and which tokens' choices decide success.

Pure functions. What they take for a step is one along the gradient of the state's own logits: exact for a table of
softmax states, and for a network a picture of it without what its states share.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from aepo_rllib.objectives.entropy import possible

SURE = 2.0
"""z of a kind of token whose choice is taken to matter."""


def entropy_pull(logp_V: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """By how much a unit step along grad log pi(token) moves the entropy, to first order (Lemma B), in nats.

        phi_a = -pi_a u_a + sum_b pi_b^2 u_b,    u = log pi + H

    Below 0 for a token that was likely, above 0 for one that was not; under pi itself its mean is 0. Times advantages
    it is what GRPO does to the entropy, times rewards what tempered samples do.

    Args:
        logp_V: Normalised log-probs over the last axis.
        token_ids: One per state.
    """
    p_V, finite_V = possible(logp_V)
    excess_V = finite_V - (p_V * finite_V).sum(-1, keepdim=True)
    pull_V = p_V * excess_V
    taken = pull_V.gather(-1, token_ids.unsqueeze(-1)).squeeze(-1)
    return (p_V * pull_V).sum(-1) - taken


class Kinds(NamedTuple):
    """What is known of every kind of token, (V,) each.

    Attributes:
        entropy: Its part of the entropy: -log pi of it where it was taken, summed over states in expectation.
        explained: Share of the variance of how often it is chosen that goes with success, within a problem.
        z: How sure it is that this is not 0.
    """

    entropy: torch.Tensor
    explained: torch.Tensor
    z: torch.Tensor

    @property
    def matters(self) -> torch.Tensor:
        """Kinds whose choice success is sure to depend on, (V,)."""
        return self.z > SURE

    @property
    def content_share(self) -> float:
        """Share of the entropy on those: a lower bound, few samples make few kinds sure."""
        return float(self.entropy[self.matters].sum() / self.entropy.sum())

    @property
    def explained_share(self) -> float:
        """Mean of `explained`, weighted by entropy: needs no threshold, is unbiased, and may come out below 0."""
        return float((self.entropy * self.explained).sum() / self.entropy.sum())


def kinds_of_tokens(surprises_PGV: torch.Tensor, entropy_V: torch.Tensor, rewards_PG: torch.Tensor) -> Kinds:
    """Split the entropy by whether success depends on the choice of a token: content where it does, else style.

    How often a completion chooses a kind of token *more than its policy expected* is a martingale: its mean is 0
    whatever came before. If success does not depend on the choice, the product with the centred reward has mean 0 in
    every problem, and so has the product of two completions' products; if it does, be it upwards in one problem and
    downwards in the next, the latter is above 0. That is the statistic, over all pairs of a problem's completions.

    Args:
        surprises_PGV: How often each of V kinds was chosen minus the sum of its probabilities, per completion.
        entropy_V: The kind's part of the entropy, sum over states of -pi_v log pi_v.
        rewards_PG: Of the completions; problems with one reward alone say nothing.
    """
    group = rewards_PG.shape[1]
    centred_PG = rewards_PG - rewards_PG.mean(1, keepdim=True)
    product_PGV = surprises_PGV * centred_PG.unsqueeze(-1)
    pairs_PV = (product_PGV.sum(1).square() - product_PGV.square().sum(1)) / (group * (group - 1))
    error_V = pairs_PV.square().sum(0).sqrt() / len(pairs_PV)
    variance_V = surprises_PGV.square().mean((0, 1)) * centred_PG.square().mean()
    tiny = torch.finfo(pairs_PV.dtype).tiny
    return Kinds(entropy_V, pairs_PV.mean(0) / variance_V.clamp_min(tiny), pairs_PV.mean(0) / error_V.clamp_min(tiny))
