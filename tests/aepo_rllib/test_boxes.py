"""Training steps of one's own: a stream asked for several times, and what a box can forget or misname."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from aepo_rllib import metrics
from aepo_rllib.algorithms.grpo import GRPO, GRPOConfig
from aepo_rllib.experience.groups import Groups
from tests.support.small_runs import small

pytestmark = pytest.mark.usefixtures("ray_cluster")


class DynamicConfig(GRPOConfig):
    """DAPO's sampling until a batch of groups teaches something."""


class Dynamic(GRPO):
    Config = DynamicConfig

    def training_step(self) -> None:
        with self.step_frame():
            self.drawn = [self.rollout("main", self.next_problems(attempt)) for attempt in range(3)]
            self.mixed = sum((groups.where(groups.rewards_PG.std(1) > 0) for groups in self.drawn), Groups([]))
            self.learn({"main": self.mixed[: self.config.batch_size]})
            self.sync_weights()


class BoxConfig(GRPOConfig):
    """Of the boxes below."""


class Box(GRPO):
    Config = BoxConfig
    body: Callable[[Any], None]

    def training_step(self) -> None:
        self.body()


def texts(groups: Groups) -> list[tuple[str, ...]]:
    return [tuple(episode.get_actions(-1) for episode in group) for group in groups.episodes_PG]


def test_a_stream_asked_for_again_draws_anew_and_groups_can_be_joined_cut_and_filtered() -> None:
    algo = small(DynamicConfig(), evaluation_interval=None).build_algo()
    result = algo.train()
    first, second, third = map(texts, algo.drawn)
    assert len({*first, *second, *third}) > 12
    assert first[0] != second[0]
    rewards_PG = torch.cat([groups.rewards_PG for groups in algo.drawn])
    assert result[metrics.MAIN][metrics.REWARD_MEAN] == pytest.approx(rewards_PG.mean().item()), "of all that was drawn"
    assert len(algo.mixed) == int((rewards_PG.std(1) > 0).sum())
    assert result[metrics.MAIN][metrics.FLAT_GROUP_SHARE] == 0, "of what was learned from"
    assert texts(algo.mixed[1:3]) == texts(algo.mixed)[1:3]
    algo.stop()


def test_the_same_problems_asked_for_twice_get_other_completions() -> None:
    algo = small(BoxConfig(), evaluation_interval=None).build_algo()

    def twice() -> None:
        with algo.step_frame():
            algo.drawn = [algo.rollout("main", algo.next_problems()) for _ in range(2)]
            algo.learn({"main": algo.drawn[0]})
            algo.sync_weights()

    algo.body = twice
    algo.train()
    assert texts(algo.drawn[0]) != texts(algo.drawn[1])
    algo.stop()


def test_what_is_asked_for_before_anyone_looks_is_sampled_in_one_request() -> None:
    algo = small(BoxConfig(), evaluation_interval=None).build_algo()
    sample, requests = algo.samplers.sample, []

    def watched(*asked: Any, **options: Any) -> Any:
        requests.append([(request.purpose.name, len(request.slots)) for request in asked])
        return sample(*asked, **options)

    def box() -> None:
        with algo.step_frame():
            first, second = (algo.ask("main", algo.next_problems(attempt)) for attempt in range(2))
            third = algo.ask("main", algo.next_problems(2)[:2])
            assert first.groups is first.groups
            fourth = algo.rollout("main", algo.next_problems(3))
            algo.drawn = [first.groups, second.groups, third.groups, fourth]
            algo.learn({"main": first.groups})
            algo.sync_weights()

    algo.body, algo.samplers.sample = box, watched
    result = algo.train()
    assert requests == [[("base_entropy", 24)], [("main", 6), ("main", 6), ("main", 2)], [("main", 6)]]
    rewards = torch.cat([groups.rewards_PG for groups in algo.drawn])
    assert result[metrics.MAIN][metrics.REWARD_MEAN] == pytest.approx(rewards.mean().item()), "of all that was drawn"
    one_by_one = small(BoxConfig(), evaluation_interval=None).build_algo()

    def slowly() -> None:
        with one_by_one.step_frame():
            one_by_one.drawn = [
                one_by_one.rollout("main", one_by_one.next_problems(a))[:n] for a, n in enumerate(sizes)
            ]
            one_by_one.learn({"main": one_by_one.drawn[0]})
            one_by_one.sync_weights()

    sizes, one_by_one.body = (6, 6, 6), slowly
    one_by_one.train()
    assert [texts(groups) for groups in algo.drawn[:2]] == [texts(groups) for groups in one_by_one.drawn[:2]]
    assert texts(algo.drawn[2]) == texts(one_by_one.drawn[2])[:2]
    algo.stop()
    one_by_one.stop()


def no_look(algo: Any) -> None:
    with algo.step_frame():
        algo.ask("main", algo.next_problems())


def no_sync(algo: Any) -> None:
    with algo.step_frame():
        algo.learn({"main": algo.rollout("main", algo.next_problems())})


def no_frame(algo: Any) -> None:
    algo.rollout("main", algo.next_problems())


def misnamed_rows(algo: Any) -> None:
    with algo.step_frame():
        algo.learn_rows({"main": [], "mian": []})


def no_rows(algo: Any) -> None:
    with algo.step_frame():
        algo.learn({"mian": algo.rollout("main", algo.next_problems())})


def misnamed_coefficient(algo: Any) -> None:
    with algo.step_frame():
        algo.learn({"main": algo.rollout("main", algo.next_problems())}, coefficients={"mian": 0.0})


def no_number(algo: Any) -> None:
    with algo.step_frame():
        algo.learn({"main": algo.rollout("main", algo.next_problems())}, coefficients={"main": float("nan")})


def unknown_stream(algo: Any) -> None:
    with algo.step_frame():
        algo.rollout("mian", algo.next_problems())


def undeclared_temperature(algo: Any) -> None:
    with algo.step_frame():
        algo.rollout("main", algo.next_problems(), temperature=1.5)


def test_what_a_box_forgets_or_misnames_is_refused() -> None:
    algo = small(BoxConfig(), evaluation_interval=None).build_algo()
    for body, complaint in (
        (no_frame, "outside of step_frame()"),
        (no_rows, "no rows of stream main were given"),
        (misnamed_rows, "rows of stream mian: the method has main"),
        (misnamed_coefficient, "coefficient of term 'mian': the method has main"),
        (no_number, "coefficient of term 'main' is nan"),
        (unknown_stream, "no stream 'mian' in this method; it has main"),
        (undeclared_temperature, "Stream(tempered=True)"),
        (no_sync, "nobody called sync_weights()"),
        (no_look, "asked for main, and never looked at the groups"),
    ):
        algo.body = lambda body=body: body(algo)
        with pytest.raises((ValueError, RuntimeError), match=re.escape(complaint)):
            algo.train()
    algo.stop()
