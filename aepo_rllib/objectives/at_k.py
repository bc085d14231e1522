"""Advantages aimed at pass@k: what a completion adds to the best of k, over all subsets of k of its group.

Both count a group's judged completions alone; a group with fewer than k of them has advantage 0.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb, sqrt

import torch

from aepo_rllib.objectives.advantages import STD_EPS, Graded


def pass_at_k(groups: Graded, *, k: int, eps: float = STD_EPS) -> torch.Tensor:
    """Pass@k training's advantage in closed form (arXiv 2508.10751): a completion has that of the average subset.

    With c of n correct and rho = pass@k: (1 - rho) / sigma for a correct completion, and for a wrong one the same less
    the share of its subsets that are all wrong; sigma = sqrt(rho (1 - rho)). A reward above 0 is correct.
    """
    return _by_group(groups, k, lambda rewards_n: _pass_at_k(rewards_n, k, eps))


def best_of_subsets(groups: Graded, *, k: int, baseline: str = "loo_minus_one") -> torch.Tensor:
    """PKPO's share of max@k that a completion is due, less a baseline (arXiv 2505.15201, eqs. 19, 29 and 33).

        s_i = (1 / C(n, k)) sum of max R over the subsets of k with i

    Args:
        groups: Graded groups; any rewards.
        k: Size of the subsets.
        baseline: Of `LESS_BASELINE`.
    """
    return _by_group(groups, k, lambda rewards_n: LESS_BASELINE[baseline](rewards_n, k))


def best_of(rewards_n: torch.Tensor, k: int) -> torch.Tensor:
    """max@k: the expected largest of k of n rewards, drawn without replacement; 0 for k = 0."""
    largest = [comb(place, k - 1) if k else 0 for place in range(len(rewards_n))]  # subsets that it is the largest of
    return (rewards_n.sort().values * _shares(rewards_n, largest, k)).sum()


def _share_of_best(rewards_n: torch.Tensor, k: int) -> torch.Tensor:
    """s_i: the subsets in which it is the largest, then those with a larger one."""
    n, (ascending_n, order_n) = len(rewards_n), rewards_n.sort()
    largest_n = _shares(rewards_n, [comb(place, k - 1) for place in range(n)], k) * ascending_n
    beside_n = _shares(rewards_n, [comb(place - 1, k - 2) if place and k > 1 else 0 for place in range(n)], k)
    beside_n = beside_n * ascending_n
    larger_n = beside_n.flip(0).cumsum(0).flip(0) - beside_n
    return torch.empty_like(rewards_n).scatter(0, order_n, largest_n + larger_n)


def _shares(rewards_n: torch.Tensor, subsets: list[int], k: int) -> torch.Tensor:
    """Numbers of subsets by that of all: whole numbers until then, for no float holds C(256, 128) in 32 bits."""
    return rewards_n.new_tensor([number / comb(len(rewards_n), k) for number in subsets])


def _less_that_of_others(rewards_n: torch.Tensor, k: int) -> torch.Tensor:
    """s_i less the mean s of the others in subsets without i, where there are such."""
    n, share_n = len(rewards_n), _share_of_best(rewards_n, k)
    if n == k:
        return share_n
    others = [best_of(torch.cat([rewards_n[:i], rewards_n[i + 1 :]]), k) for i in range(n)]
    return share_n - k / (n - 1) * torch.stack(others)


def _added_to_best(rewards_n: torch.Tensor, k: int) -> torch.Tensor:
    """s_i less the same with i taken out of its subsets: what it adds where it is the largest, to the second largest j.

    So it is exactly 0 for the smallest rewards, and never below.
    """
    if k == 1:
        return rewards_n / len(rewards_n)
    n, (ascending_n, order_n) = len(rewards_n), rewards_n.sort()
    second_n = _shares(rewards_n, [comb(place, k - 2) for place in range(n)], k)
    added_nn = (ascending_n.unsqueeze(1) - ascending_n).clamp_min(0.0) * second_n
    return torch.empty_like(rewards_n).scatter(0, order_n, added_nn.tril().sum(1))


LESS_BASELINE: dict[str, Callable[[torch.Tensor, int], torch.Tensor]] = {
    "none": _share_of_best,
    "loo": _less_that_of_others,
    "loo_minus_one": _added_to_best,
}
"""By the paper's names of the baselines."""


def _pass_at_k(rewards_n: torch.Tensor, k: int, eps: float) -> torch.Tensor:
    correct_n, n = rewards_n > 0, len(rewards_n)
    wrong = n - int(correct_n.sum())
    all_wrong = comb(wrong, k) / comb(n, k)
    alone = comb(wrong - 1, k - 1) / comb(n - 1, k - 1) if wrong else 0.0
    sigma = sqrt(all_wrong * (1 - all_wrong))
    return torch.where(correct_n, all_wrong, all_wrong - alone).to(rewards_n) / (sigma + eps)


def _by_group(groups: Graded, k: int, advantage: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    result_PG = torch.zeros_like(groups.rewards_PG)
    for rewards_G, judged_G, result_G in zip(groups.rewards_PG, groups.judged_PG, result_PG, strict=True):
        if k <= int(judged_G.sum()):
            result_G[judged_G] = advantage(rewards_G[judged_G])
    return result_PG
