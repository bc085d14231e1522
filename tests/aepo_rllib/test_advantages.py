"""Group advantages: the peers' numbers, and what must hold for any rewards."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aepo_rllib.objectives.advantages import (
    STD_EPS,
    Advantage,
    Graded,
    centred,
    group_normalised,
    importance_corrected,
    leave_one_out,
    positive_advantage,
    positive_reward,
    signed,
)
from tests.support.goldens import GROUP_SIZE, golden_cases, tensor

F64 = torch.float64
BASELINES = [group_normalised, centred, leave_one_out]
"""Advantages that compare a completion with its group."""
each_baseline = pytest.mark.parametrize("advantage", BASELINES, ids=lambda advantage: advantage.__name__)


def grouped(case: dict[str, Any], name: str) -> torch.Tensor:
    return tensor(case, name).view(-1, GROUP_SIZE)


def normalised(scale: bool, eps: float = STD_EPS) -> Advantage:
    return partial(group_normalised, eps=eps) if scale else centred


def assert_golden(advantages_PG: torch.Tensor, case: dict[str, Any]) -> None:
    torch.testing.assert_close(advantages_PG, grouped(case, "advantages"), atol=case["tolerance"], rtol=0)


# --- The peers' numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case",
    [
        *golden_cases("verl", ("adv_grpo_std", "adv_grpo_nostd", "adv_grpo_vectorized")),
        *golden_cases("aepo_official", "adv_grpo"),
        *golden_cases("oat_drgrpo", "adv"),
    ],
)
def test_group_advantages_are_the_peers(case: dict[str, Any]) -> None:
    args = case["args"]
    scale = args.get("norm_adv_by_std_in_grpo", args.get("critic_type") != "drgrpo")
    eps = args.get("eps", STD_EPS)  # oat: 1e-8
    assert_golden(normalised(scale, eps)(Graded(grouped(case, "rewards"))), case)


@pytest.mark.parametrize("case", golden_cases("trl", ("adv_scale_group", "adv_scale_none")))
def test_trl_differs_by_its_eps_alone(case: dict[str, Any]) -> None:
    rewards_PG, scale = grouped(case, "rewards"), case["args"]["scale_rewards"] == "group"
    usable_PG = ~rewards_PG.isnan()  # TRL's word for a completion that no reward function judged
    assert_golden(normalised(scale, case["args"]["eps"])(Graded(rewards_PG, usable_PG)), case)


@pytest.mark.parametrize(
    "case",
    [
        *golden_cases("verl", "adv_rloo"),
        *golden_cases("aepo_official", "adv_rloo"),
        *golden_cases("trl", "adv_rloo_normFalse"),
    ],
)
def test_leave_one_out_advantages_are_the_peers(case: dict[str, Any]) -> None:
    assert_golden(leave_one_out(Graded(grouped(case, "rewards"))), case)


# --- Compared with the group --------------------------------------------------------------------------------------


def test_one_correct_of_four_by_hand() -> None:
    groups = Graded(torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=F64))
    # mean 1/4, unbiased std sqrt((9 + 1 + 1 + 1) / 16 / 3) = 1/2
    assert group_normalised(groups, eps=0.0).tolist() == [[1.5, -0.5, -0.5, -0.5]]
    assert centred(groups).tolist() == [[0.75, -0.25, -0.25, -0.25]]
    torch.testing.assert_close(leave_one_out(groups), torch.tensor([[1.0, -1 / 3, -1 / 3, -1 / 3]], dtype=F64))


@settings(deadline=None)
@given(
    rewards=st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=8),
    ignored=st.integers(0, 3),
    advantage=st.sampled_from([*BASELINES, positive_advantage]),
)
def test_unusable_rewards_are_as_if_they_were_not_there(
    rewards: list[float], ignored: int, advantage: Advantage
) -> None:
    alone = advantage(Graded(torch.tensor([rewards], dtype=F64)))
    padded_PG = torch.tensor([[*rewards, *[99.0] * ignored]], dtype=F64)
    usable_PG = torch.tensor([[True] * len(rewards) + [False] * ignored])
    together = advantage(Graded(padded_PG, usable_PG))
    torch.testing.assert_close(together[:, : len(rewards)], alone)
    assert (together[:, len(rewards) :] == 0).all()


@settings(deadline=None)
@given(
    rewards=st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=8),
    shift=st.floats(-5, 5, width=32),
    advantage=st.sampled_from(BASELINES),
)
def test_advantages_are_centred_and_blind_to_a_shift(rewards: list[float], shift: float, advantage: Advantage) -> None:
    rewards_PG = torch.tensor([rewards], dtype=F64)
    advantages_PG = advantage(Graded(rewards_PG))
    assert abs(advantages_PG.sum().item()) < 1e-6
    torch.testing.assert_close(advantage(Graded(rewards_PG + shift)), advantages_PG, atol=1e-6, rtol=1e-6)


def test_leave_one_out_is_the_mean_of_the_others() -> None:
    rewards_PG = torch.rand(3, 5, generator=torch.Generator().manual_seed(0), dtype=F64)
    for prompt in range(3):
        for sample in range(5):
            others = torch.cat([rewards_PG[prompt, :sample], rewards_PG[prompt, sample + 1 :]])
            expected = rewards_PG[prompt, sample] - others.mean()
            torch.testing.assert_close(leave_one_out(Graded(rewards_PG))[prompt, sample], expected)


@each_baseline
@pytest.mark.parametrize("reward", [0.0, 1.0, 0.5])
def test_a_group_without_spread_has_no_advantage(advantage: Advantage, reward: float) -> None:
    assert (advantage(Graded(torch.full((1, 8), reward))) == 0).all()


@each_baseline
@pytest.mark.parametrize("reward", [0.1, 0.9, 1.1])
def test_a_group_without_spread_has_no_advantage_for_rewards_that_binary_cannot_hold(
    advantage: Advantage, reward: float
) -> None:
    for size in range(2, 17):
        assert (advantage(Graded(torch.full((1, size), reward))) == 0).all(), size


@pytest.mark.parametrize("advantage", [*BASELINES, positive_advantage], ids=lambda advantage: advantage.__name__)
@pytest.mark.parametrize("usable", [[False, False, False], [True, False, False]])
def test_fewer_than_two_usable_rewards_have_no_baseline(advantage: Advantage, usable: list[bool]) -> None:
    assert (advantage(Graded(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([usable]))) == 0).all()


@each_baseline
def test_groups_do_not_mix(advantage: Advantage) -> None:
    rewards_PG = torch.tensor([[1.0, 0.0], [5.0, 7.0]], dtype=F64)
    both = advantage(Graded(rewards_PG))
    for prompt in range(2):
        torch.testing.assert_close(both[prompt : prompt + 1], advantage(Graded(rewards_PG[prompt : prompt + 1])))


def test_rewards_without_a_group_axis_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \(prompts, group\), got shape \(2,\)"):
        Graded(torch.tensor([1.0, 0.0]))


# --- Of tempered completions --------------------------------------------------------------------------------------

TEMPERED_PG = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]])


def test_the_papers_rule_weighs_a_completion_by_its_reward_and_never_against_it() -> None:
    weights_PG = positive_reward(Graded(torch.tensor([[1.0, 0.0, 0.25], [-1.0, -0.5, 2.0]])))
    assert weights_PG.tolist() == [[1, 0, 0.25], [0, 0, 2]]


def test_the_authors_rule_drops_groups_that_are_all_correct() -> None:
    assert positive_advantage(Graded(TEMPERED_PG)).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0], [1, 1, 0]]


def test_signed_keeps_the_wrong_ones() -> None:
    assert signed(Graded(TEMPERED_PG))[0].tolist() == [1, -1, -1]


def test_corrected_is_the_reward_times_the_ratio_of_the_laws() -> None:
    groups = Graded(TEMPERED_PG, log_importance_PG=torch.full((4, 3), math.log(0.25)))
    assert importance_corrected(groups)[0].tolist() == [0.25, 0, 0]
    with pytest.raises(ValueError, match="this engine hides"):
        importance_corrected(Graded(TEMPERED_PG))


@pytest.mark.parametrize(
    "advantage",
    [*BASELINES, positive_reward, positive_advantage, signed, importance_corrected],
    ids=lambda advantage: advantage.__name__,
)
@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)
def test_advantages_keep_shape_and_type_and_leave_the_rewards_alone(advantage: Advantage, dtype: torch.dtype) -> None:
    rewards_PG = TEMPERED_PG.to(dtype)
    before_PG = rewards_PG.clone()
    advantages_PG = advantage(Graded(rewards_PG, log_importance_PG=torch.zeros(4, 3)))
    assert (advantages_PG.shape, advantages_PG.dtype) == (rewards_PG.shape, dtype)
    assert torch.equal(rewards_PG, before_PG)
