"""Advantages of the table's methods against numbers of their authors' code, of verl and of TRL, and by definition."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from aepo_rllib import GRPOConfig
from aepo_rllib.algorithms.dapo import DAPOConfig
from aepo_rllib.algorithms.gpg import GPGConfig
from aepo_rllib.algorithms.maxrl import MaxRLConfig
from aepo_rllib.algorithms.opo import OPOConfig
from aepo_rllib.algorithms.pass_at_k import PassAtKConfig
from aepo_rllib.algorithms.pkpo import PKPOConfig
from aepo_rllib.algorithms.qae import QAEConfig
from aepo_rllib.algorithms.reinforce_plus_plus import ReinforcePlusPlusConfig
from aepo_rllib.objectives.advantages import (
    STD_EPS,
    Advantage,
    Graded,
    centred,
    deviation,
    group_normalised,
    leave_one_out,
)
from aepo_rllib.objectives.at_k import best_of, best_of_subsets
from aepo_rllib.objectives.parts import MAIN
from tests.support.goldens import GROUP_SIZE, golden_cases, tensor

F64 = torch.float64


def advantages(config: GRPOConfig, rewards_PG: torch.Tensor, lengths_PG: torch.Tensor | None = None) -> torch.Tensor:
    return config.method().streams[MAIN].advantage(Graded(rewards_PG, lengths_PG=lengths_PG))


GROUPS = [
    *((GPGConfig().training(counted="rewarded"), *case.values) for case in golden_cases("verl", "adv_gpg")),
    *((OPOConfig(), *case.values) for case in golden_cases("verl", "adv_opo")),
    *(
        (ReinforcePlusPlusConfig().training(group_baseline="baseline" in case.values[0]["name"]), *case.values)
        for case in golden_cases("verl", "adv_reinforce_plus_plus")
    ),
]


@pytest.mark.parametrize(("config", "case"), GROUPS, ids=lambda value: value["name"] if isinstance(value, dict) else "")
def test_advantages_of_a_method_are_verls(config: GRPOConfig, case: dict[str, Any]) -> None:
    rewards_PG, lengths_PG, expected_PG = (
        tensor(case, name).view(-1, GROUP_SIZE) for name in ("rewards", "lengths", "advantages")
    )
    torch.testing.assert_close(advantages(config, rewards_PG, lengths_PG), expected_PG, atol=case["tolerance"], rtol=0)


def as_one_group(values_PG: torch.Tensor, usable_PG: torch.Tensor | None = None) -> Graded:
    """The whole batch, (1, P G)."""
    return Graded(values_PG.reshape(1, -1), None if usable_PG is None else usable_PG.reshape(1, -1))


def scaled_by_batch(groups: Graded) -> torch.Tensor:
    """TRL's `scale_rewards="batch"`, with its eps."""
    return centred(groups) / (deviation(as_one_group(groups.rewards_PG, groups.usable_PG)) + 1e-4)


def normalised_leave_one_out(groups: Graded) -> torch.Tensor:
    """TRL's `normalize_advantages=True`."""
    return group_normalised(as_one_group(leave_one_out(groups)), eps=1e-4).view_as(groups.rewards_PG)


def best_over_second(groups: Graded) -> torch.Tensor:
    """What the best adds to the best of the others, arXiv 2503.19595: PKPO of whole groups, over GRPO's deviation."""
    return best_of_subsets(groups, k=GROUP_SIZE) / (deviation(groups) + STD_EPS)


COMPOSED = [
    *((scaled_by_batch, *case.values) for case in golden_cases("trl", "adv_scale_batch")),
    *((normalised_leave_one_out, *case.values) for case in golden_cases("trl", "adv_rloo_normTrue")),
    *((best_over_second, *case.values) for case in golden_cases("verl", "adv_grpo_passk")),
]
"""Advantages of peers that no method here has, and that are made of those of methods."""


@pytest.mark.parametrize(
    ("advantage", "case"), COMPOSED, ids=lambda value: value["name"] if isinstance(value, dict) else ""
)
def test_parts_compose_to_other_advantages_of_the_peers(advantage: Advantage, case: dict[str, Any]) -> None:
    rewards_PG, expected_PG = (tensor(case, name).view(-1, GROUP_SIZE) for name in ("rewards", "advantages"))
    found_PG = advantage(Graded(rewards_PG, ~rewards_PG.isnan()))
    torch.testing.assert_close(found_PG, expected_PG, atol=case["tolerance"], rtol=0)


@pytest.mark.parametrize("case", golden_cases("passk", "passk_adv"))
def test_pass_at_k_advantages_are_the_authors(case: dict[str, Any]) -> None:
    config = PassAtKConfig().training(subset_size=case["args"]["k"])
    [advantage_G] = advantages(config, tensor(case, "rewards")[None])
    torch.testing.assert_close(advantage_G, tensor(case, "advantages"), atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", golden_cases("definitions", "pkpo"))
def test_pkpos_rewards_are_their_definition(case: dict[str, Any]) -> None:
    """By the mean over all subsets."""
    rewards_n, k = tensor(case, "rewards"), case["args"]["k"]
    for name, baseline in {"s": "none", "s_loo": "loo", "s_loo_minus_one": "loo_minus_one"}.items():
        config = PKPOConfig().training(subset_size=k, subset_baseline=baseline)
        torch.testing.assert_close(advantages(config, rewards_n[None])[0], tensor(case, name), atol=1e-9, rtol=0)
    torch.testing.assert_close(best_of(rewards_n, k), tensor(case, "maxg_at_k"), atol=1e-9, rtol=0)


@pytest.mark.parametrize("baseline", ["none", "loo", "loo_minus_one"])
def test_pkpo_counts_the_subsets_of_large_groups(baseline: str) -> None:
    """More than 32 bits hold: C(256, 128) is 6e75."""
    rewards_1n = (torch.arange(256) % 7 == 0).float()[None]
    config = PKPOConfig().training(subset_size=128, subset_baseline=baseline)
    found_1n, exact_1n = advantages(config, rewards_1n), advantages(config, rewards_1n.double())
    # The best of 128 is as good as sure to be a success: a completion's share is that of the subsets it is in.
    assert torch.isfinite(exact_1n).all()
    torch.testing.assert_close(found_1n.double(), exact_1n, atol=1e-6, rtol=0)
    if baseline == "none":
        torch.testing.assert_close(exact_1n, torch.full_like(exact_1n, 0.5), atol=1e-6, rtol=0)


def test_pass_at_one_is_grpo_with_the_populations_deviation() -> None:
    rewards_PG = torch.tensor([[1.0, 0.0, 0.0, 1.0, 1.0], [0.0] * 5], dtype=F64)
    expected_G = (rewards_PG[0] - 0.6) / (0.6 * 0.4) ** 0.5
    found_PG = advantages(PassAtKConfig().training(subset_size=1), rewards_PG)
    torch.testing.assert_close(found_PG, torch.stack([expected_G, torch.zeros(5, dtype=F64)]), atol=1e-5, rtol=0)


def test_maxrl_is_the_gradient_of_the_log_of_the_success_rate() -> None:
    """Of a small policy, with a group so large that the estimate is the expectation."""
    logits_V = torch.tensor([0.3, -1.0, 0.7, 0.0], dtype=F64, requires_grad=True)
    reward_V = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=F64)
    draws_PG = torch.multinomial(
        logits_V.detach().softmax(0), 200_000, True, generator=torch.Generator().manual_seed(0)
    )
    advantage_PG = advantages(MaxRLConfig(), reward_V[draws_PG][None])
    surrogate = (advantage_PG[0] * logits_V.log_softmax(0)[draws_PG]).mean()
    (estimate_V,) = torch.autograd.grad(surrogate, logits_V)
    (exact_V,) = torch.autograd.grad((logits_V.softmax(0) * reward_V).sum().log(), logits_V)
    torch.testing.assert_close(estimate_V, exact_V, atol=5e-3, rtol=0)
    assert advantages(MaxRLConfig(), torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0] * 4])).tolist()[0] == [3, -1, -1, -1]


@pytest.mark.parametrize("correct", range(11))
@pytest.mark.parametrize("quantile", [0.4, 0.6, 0.7])
def test_a_quantile_baseline_teaches_rare_successes_or_remaining_failures(correct: int, quantile: float) -> None:
    """Equation 4 of the paper: successes alone where p <= 1 - K, failures alone where p > 1 - K."""
    rewards_PG = (torch.arange(10) < correct).to(F64)[None]
    config = QAEConfig().training(quantile=quantile, overlong_punishment=0.0)
    [advantage_G] = advantages(config, rewards_PG, torch.full((1, 10), 5))
    deviation = rewards_PG.std().item()
    hard = correct / 10 <= 1 - quantile + 1e-9
    for reward, advantage in zip(rewards_PG[0].tolist(), advantage_G.tolist(), strict=True):
        expected = (reward - (0.0 if hard else 1.0)) / deviation if deviation else 0.0
        assert advantage == pytest.approx(expected, rel=1e-4)


def test_gpg_scales_by_the_completions_of_groups_that_teach_something() -> None:
    rewards_PG = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    assert advantages(GPGConfig(), rewards_PG).tolist() == [[1.5, -1.5], [0, 0], [0, 0]]


# --- DAPO's lengths -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [*golden_cases("verl", "dapo_overlong"), *golden_cases("trl", "soft_overlong")])
def test_dapos_punishment_of_length_is_the_peers(case: dict[str, Any]) -> None:
    """Of rewards that are compared with nothing: the advantage is what an identity gives."""
    args, given = case["args"], case["inputs"]
    lengths_G = torch.tensor(given.get("valid_response_length", given.get("lengths")))
    limit, buffer = (
        args.get(verl, args.get(trl))
        for verl, trl in (("max_resp_len", "max_completion_len"), ("overlong_buffer_len", "soft_punish_cache"))
    )
    factor = args.get("penalty_factor", 1.0)
    config = DAPOConfig().sampling(max_new_tokens=limit)
    config.training(overlong_buffer=buffer / limit, overlong_punishment=factor)
    base_1G = torch.full((1, len(lengths_G)), float(args.get("base_score", 0.0)), dtype=F64)
    punished_1G = config.punished(lambda groups: groups.rewards_PG)(Graded(base_1G, lengths_PG=lengths_G[None]))
    torch.testing.assert_close(punished_1G[0], tensor(case, "reward"), atol=1e-6, rtol=0)


# --- What holds for all -------------------------------------------------------------------------------------------

OF_JUDGED = {
    "maxrl": MaxRLConfig(),
    "opo": OPOConfig(),
    "gpg": GPGConfig(),
    "pass_at_k": PassAtKConfig().training(subset_size=2),
    "pkpo": PKPOConfig().training(subset_size=2),
    "qae": QAEConfig().training(overlong_punishment=0.0),
    "reinforce_plus_plus": ReinforcePlusPlusConfig(),
    "with group baseline": ReinforcePlusPlusConfig().training(group_baseline=True),
    "dapo": DAPOConfig(),
}


@pytest.mark.parametrize("config", OF_JUDGED.values(), ids=OF_JUDGED)
def test_completions_that_nobody_judged_are_as_if_they_were_not_there(config: GRPOConfig) -> None:
    advantage = config.method().streams[MAIN].advantage
    rewards_PG = torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.0, 1.0]], dtype=F64)
    lengths_PG = torch.tensor([[5, 3, 60], [2, 64, 1]])
    alone_PG = advantage(Graded(rewards_PG, lengths_PG=lengths_PG))
    beside = partial(torch.nn.functional.pad, pad=(0, 1))
    together_PG = advantage(Graded(beside(rewards_PG, value=9.0), beside(rewards_PG < 2), beside(lengths_PG, value=7)))
    torch.testing.assert_close(together_PG, beside(alone_PG))
    nobody = advantage(Graded(rewards_PG, torch.zeros(2, 3, dtype=torch.bool), lengths_PG))
    assert nobody.tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("config", OF_JUDGED.values(), ids=OF_JUDGED)
@pytest.mark.parametrize("reward", [0.0, 0.9, 1.0])
def test_equal_rewards_of_all_teach_nothing(config: GRPOConfig, reward: float) -> None:
    """But for lengths, which only what is longer than the buffer allows is punished for."""
    given = Graded(torch.full((3, 7), reward), lengths_PG=torch.arange(21).view(3, 7))
    assert (config.method().streams[MAIN].advantage(given) == 0).all()
