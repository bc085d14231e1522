"""Weights of tempered completions, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from aepo_rllib.objectives.tempered_weights import (
    WEIGHT_RULES,
    importance_corrected,
    positive_advantage,
    reward,
    signed,
)

REWARDS_PG = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
USABLE_PG = torch.ones(4, 3, dtype=torch.bool)


def test_the_papers_rule_is_the_reward() -> None:
    assert reward(REWARDS_PG, USABLE_PG).tolist() == REWARDS_PG.tolist()


def test_the_authors_rule_drops_groups_that_are_all_correct() -> None:
    assert positive_advantage(REWARDS_PG, USABLE_PG).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0], [1, 1, 0]]


def test_unjudged_completions_are_no_baseline() -> None:
    usable_PG = USABLE_PG.clone()
    usable_PG[0, 1:] = False  # one reward is left, and one alone has no advantage
    assert positive_advantage(REWARDS_PG, usable_PG)[0].tolist() == [0, 0, 0]


def test_signed_keeps_the_wrong_ones() -> None:
    assert signed(REWARDS_PG, USABLE_PG)[0].tolist() == [1, -1, -1]


def test_corrected_is_the_reward_times_the_ratio_of_the_laws() -> None:
    log_importance_PG = torch.full((4, 3), math.log(0.25))
    assert importance_corrected(REWARDS_PG, USABLE_PG, log_importance_PG)[0].tolist() == [0.25, 0, 0]
    with pytest.raises(ValueError, match="this engine hides"):
        importance_corrected(REWARDS_PG, USABLE_PG, None)


@pytest.mark.parametrize("rule", WEIGHT_RULES.values(), ids=WEIGHT_RULES)
def test_weights_keep_shape_and_type(rule) -> None:
    rewards_PG = REWARDS_PG.double()
    weights_PG = rule(rewards_PG, USABLE_PG, torch.zeros(4, 3))
    assert weights_PG.shape == rewards_PG.shape
    assert weights_PG.dtype == rewards_PG.dtype
