"""Group advantages: the peers' numbers, and what must hold for any rewards."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from goldens import GROUP_SIZE, golden_cases, tensor
from hypothesis import given
from hypothesis import strategies as st

from aepo_rllib.objectives.advantages import STD_EPS, group_advantages, leave_one_out_advantages

F64 = torch.float64


def grouped(case: dict[str, Any], name: str) -> torch.Tensor:
    return tensor(case, name).view(-1, GROUP_SIZE)


def assert_golden(advantages_PG: torch.Tensor, case: dict[str, Any]) -> None:
    torch.testing.assert_close(advantages_PG, grouped(case, "advantages"), atol=case["tolerance"], rtol=0)


@pytest.mark.parametrize(
    "case",
    [*golden_cases("verl", "adv_grpo"), *golden_cases("aepo_official", "adv_grpo"), *golden_cases("oat_drgrpo", "adv")],
)
def test_group_advantages_are_the_peers(case: dict[str, Any]) -> None:
    args = case["args"]
    scale = args.get("norm_adv_by_std_in_grpo", args.get("critic_type") != "drgrpo")
    eps = args.get("eps", STD_EPS)  # oat: 1e-8
    assert_golden(group_advantages(grouped(case, "rewards"), scale_by_std=scale, eps=eps), case)


@pytest.mark.parametrize("case", golden_cases("trl", "adv_scale"))
def test_trl_differs_by_its_eps_alone(case: dict[str, Any]) -> None:
    rewards_PG, scale = grouped(case, "rewards"), case["args"]["scale_rewards"] == "group"
    usable_PG = ~rewards_PG.isnan()  # TRL's word for a completion that no reward function judged
    assert_golden(group_advantages(rewards_PG, usable_PG, scale_by_std=scale, eps=case["args"]["eps"]), case)


@pytest.mark.parametrize(
    "case",
    [*golden_cases("verl", "adv_rloo"), *golden_cases("aepo_official", "adv_rloo"), *golden_cases("trl", "adv_rloo")],
)
def test_leave_one_out_advantages_are_the_peers(case: dict[str, Any]) -> None:
    assert_golden(leave_one_out_advantages(grouped(case, "rewards")), case)


def test_one_correct_of_four_by_hand() -> None:
    rewards_PG = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=F64)
    # mean 1/4, unbiased std sqrt((9 + 1 + 1 + 1) / 16 / 3) = 1/2
    assert group_advantages(rewards_PG, eps=0.0).tolist() == [[1.5, -0.5, -0.5, -0.5]]
    assert group_advantages(rewards_PG, scale_by_std=False).tolist() == [[0.75, -0.25, -0.25, -0.25]]
    torch.testing.assert_close(
        leave_one_out_advantages(rewards_PG), torch.tensor([[1.0, -1 / 3, -1 / 3, -1 / 3]], dtype=F64)
    )


@given(
    rewards=st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=8),
    ignored=st.integers(0, 3),
    scale=st.booleans(),
)
def test_unusable_rewards_are_as_if_they_were_not_there(rewards: list[float], ignored: int, scale: bool) -> None:
    alone = group_advantages(torch.tensor([rewards], dtype=F64), scale_by_std=scale)
    padded_PG = torch.tensor([[*rewards, *[99.0] * ignored]], dtype=F64)
    usable_PG = torch.tensor([[True] * len(rewards) + [False] * ignored])
    together = group_advantages(padded_PG, usable_PG, scale_by_std=scale)
    torch.testing.assert_close(together[:, : len(rewards)], alone)
    assert (together[:, len(rewards) :] == 0).all()
    loo = leave_one_out_advantages(padded_PG, usable_PG)
    torch.testing.assert_close(loo[:, : len(rewards)], leave_one_out_advantages(torch.tensor([rewards], dtype=F64)))
    assert (loo[:, len(rewards) :] == 0).all()


@given(
    rewards=st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=8),
    shift=st.floats(-5, 5, width=32),
)
def test_advantages_are_centred_and_blind_to_a_shift(rewards: list[float], shift: float) -> None:
    rewards_PG = torch.tensor([rewards], dtype=F64)
    for scale in (True, False):
        advantages_PG = group_advantages(rewards_PG, scale_by_std=scale)
        assert abs(advantages_PG.sum().item()) < 1e-6
        torch.testing.assert_close(
            group_advantages(rewards_PG + shift, scale_by_std=scale), advantages_PG, atol=1e-6, rtol=1e-6
        )


def test_leave_one_out_is_the_mean_of_the_others() -> None:
    rewards_PG = torch.rand(3, 5, generator=torch.Generator().manual_seed(0), dtype=F64)
    for prompt in range(3):
        for sample in range(5):
            others = torch.cat([rewards_PG[prompt, :sample], rewards_PG[prompt, sample + 1 :]])
            expected = rewards_PG[prompt, sample] - others.mean()
            torch.testing.assert_close(leave_one_out_advantages(rewards_PG)[prompt, sample], expected)


@pytest.mark.parametrize("reward", [0.0, 1.0, 0.5])
def test_a_group_without_spread_has_no_advantage(reward: float) -> None:
    rewards_PG = torch.full((1, 8), reward)
    assert (group_advantages(rewards_PG) == 0).all()
    assert (leave_one_out_advantages(rewards_PG) == 0).all()


@pytest.mark.parametrize("reward", [0.1, 0.9, 1.1])
def test_a_group_without_spread_has_no_advantage_for_rewards_that_binary_cannot_hold(reward: float) -> None:
    for size in range(2, 17):
        assert (group_advantages(torch.full((1, size), reward)) == 0).all(), size


@pytest.mark.parametrize("usable", [[False, False, False], [True, False, False]])
def test_fewer_than_two_usable_rewards_have_no_baseline(usable: list[bool]) -> None:
    rewards_PG, usable_PG = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([usable])
    assert (group_advantages(rewards_PG, usable_PG) == 0).all()
    assert (group_advantages(rewards_PG, usable_PG, scale_by_std=False) == 0).all()
    assert (leave_one_out_advantages(rewards_PG, usable_PG) == 0).all()


def test_groups_do_not_mix() -> None:
    rewards_PG = torch.tensor([[1.0, 0.0], [5.0, 7.0]], dtype=F64)
    both = group_advantages(rewards_PG)
    for prompt in range(2):
        torch.testing.assert_close(both[prompt : prompt + 1], group_advantages(rewards_PG[prompt : prompt + 1]))


def test_rewards_without_a_group_axis_are_refused() -> None:
    with pytest.raises(ValueError, match="prompts, group"):
        group_advantages(torch.tensor([1.0, 0.0]))
