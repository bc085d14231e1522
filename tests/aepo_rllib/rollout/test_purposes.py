"""What completions are for is part of their random keys, so that no two purposes draw the same uniforms."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepo_rllib.algorithms import ALGORITHMS
from aepo_rllib.rollout.request import BASE_ENTROPY, EVALUATION, MAIN_STREAM, Purpose, RolloutRequest, purpose_of

NAMES = ["main", *(f"stream {place}" for place in range(1, 40))]


def key(purpose: Purpose) -> tuple[int, ...]:
    return RolloutRequest(purpose, seed=1, step=2, slots=(3,), problems=(4,), group_size=1).key(3, 0)


@given(count=st.integers(1, len(NAMES)))
def test_no_two_purposes_share_a_number(count: int) -> None:
    purposes = [*(purpose_of(name, NAMES[:count]) for name in NAMES[:count]), EVALUATION, BASE_ENTROPY]
    assert len({purpose.number for purpose in purposes}) == len({key(purpose) for purpose in purposes}) == count + 2
    assert len({purpose.name for purpose in purposes}) == count + 2


def test_a_further_stream_changes_no_others_number() -> None:
    """Or a method with one more term would sample other completions for all of them."""
    for fewer, more in pairwise(range(1, len(NAMES) + 1)):
        for name in NAMES[:fewer]:
            assert purpose_of(name, NAMES[:fewer]) == purpose_of(name, NAMES[:more])


def test_numbers_that_runs_have_sampled_with_stay() -> None:
    """A run goes on with the uniforms it began with, and stored evaluations with theirs."""
    assert (MAIN_STREAM.number, purpose_of("tempered", ["main", "tempered"]).number) == (0, 1)
    assert (EVALUATION.number, BASE_ENTROPY.number) == (2, 3)


def test_streams_are_learned_from_and_the_others_are_not() -> None:
    assert purpose_of("main", ["main"]) == MAIN_STREAM
    assert all(purpose_of(name, NAMES).learned for name in NAMES)
    assert not EVALUATION.learned
    assert not BASE_ENTROPY.learned


@pytest.mark.parametrize("config", ALGORITHMS.values(), ids=ALGORITHMS)
def test_the_main_stream_of_every_method_has_the_policys_own_number(config: type) -> None:
    streams = [*config().method().streams]
    assert purpose_of("main", streams) == MAIN_STREAM


def test_a_completion_that_nobody_asked_to_heat_is_sampled_from_the_policy_itself() -> None:
    """Evaluation and base entropy among them."""
    assert RolloutRequest(EVALUATION, seed=1, step=2, slots=(3,), problems=(4,), group_size=1).temperature == 1.0
