"""Optimizer steps beside the sampling of the next batch: the same numbers as one after the other, an update late."""

from __future__ import annotations

import os
import signal
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from aepo_rllib import AEPO, AEPOConfig, metrics
from aepo_rllib.algorithms.aepo import TEMPERED
from aepo_rllib.columns import Columns
from aepo_rllib.learning.optimizer_step import NonFiniteError
from aepo_rllib.objectives.parts import MAIN
from tests.support.small_runs import figures, small, weights

pytestmark = pytest.mark.usefixtures("ray_cluster")

STEPS = 4


class ByHandConfig(AEPOConfig):
    """Of the box below."""


class ByHand(AEPO):
    """Learns from the batch before the one it has just sampled, one after the other."""

    Config = ByHandConfig
    kept: dict[str, Any] | None = None

    def training_step(self) -> None:
        with self.step_frame():
            problems = self.next_problems()
            main = self.ask(MAIN, problems)
            temperature = self.turn_dial(lambda: main.groups.entropy(self.config.measured_entropy()))
            tempered = self.ask(TEMPERED, self.share_of(problems, TEMPERED), temperature=temperature)
            groups = {MAIN: main.groups, TEMPERED: tempered.groups}
            if self.kept:
                self._own_weights = False
                self.learn(self.kept)
                self.sync_weights()
            self.kept = groups


def beside(config: AEPOConfig | None = None, **settings: Any) -> Any:
    options = {"num_env_runners": 2, "evaluation_interval": None, "async_steps": 1, **settings}
    return small(config or AEPOConfig(), **options).build_algo()


def sampled(result: dict[str, Any]) -> dict[str, float]:
    """Figures of a step's completions, without those of the rows that are learned from."""
    learned = (metrics.POSITIVES, metrics.FLAT_GROUP_SHARE)
    return {name: value for name, value in figures(result).items() if not name.endswith(learned)}


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(("runners", "learners"), [(2, 0), pytest.param(1, 2, marks=pytest.mark.slow)])
def test_steps_are_those_of_a_box_that_learns_from_the_batch_before(runners: int, learners: int) -> None:
    layout = {"num_env_runners": runners, "num_learners": learners}
    other = beside(ByHandConfig(), async_steps=0, **layout)
    expected = [sampled(other.train()) for _ in range(STEPS)]
    with other.step_frame():
        other._own_weights = False
        other.learn(other.kept)
        other.sync_weights()
    expected_weights = weights(other)
    other.stop()
    algo = beside(**layout)
    results = [algo.train() for _ in range(STEPS)]
    assert [sampled(result) for result in results] == expected
    assert [metrics.UPDATE in result for result in results] == [False, True, True, True], "an update late"
    assert results[-1][metrics.UPDATE][metrics.FIRST_RATIO_MAX_DEVIATION] > 0.01, "the ratio corrects for it"
    algo.finish_learning()
    assert same(weights(algo), expected_weights)
    algo.stop()


@pytest.mark.slow
def test_a_checkpoint_waits_for_the_batch_that_is_under_way_and_the_run_goes_on_from_it_bit_for_bit(
    tmp_path: Any,
) -> None:
    algo = beside()
    for _ in range(2):
        algo.train()
    algo.save_to_path(tmp_path / "two")
    assert algo._under_way is None
    expected = [figures(algo.train()) for _ in range(2)]
    algo.finish_learning()
    expected_weights = weights(algo)
    algo.stop()
    other = beside()
    other.restore_from_path(tmp_path / "two")
    assert [figures(other.train()) for _ in range(2)] == expected
    other.finish_learning()
    assert same(weights(other), expected_weights)
    other.stop()


def test_whoever_asks_for_weights_gets_those_of_a_whole_step() -> None:
    algo = beside(evaluation_interval=3, num_env_runners=1)
    for _ in range(2):
        algo.train()
    module = {name: tensor.clone() for name, tensor in algo.get_module().state_dict().items()}
    assert algo._under_way is None
    algo.train()  # evaluates
    assert algo._under_way is None
    changed = algo.get_module().state_dict()
    assert any(not torch.equal(module[name], changed[name]) for name in module)
    algo.stop()


@pytest.mark.slow
def test_a_killed_env_runner_gets_weights_of_no_half_update() -> None:
    algo = beside(num_epochs=2)
    algo.train()
    victim, _ = algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
    os.kill(victim, signal.SIGKILL)
    for _ in range(2):
        algo.train()
    algo.settle_learning()
    versions = algo.env_runner_group.foreach_env_runner(lambda runner: runner.weights_version, local_env_runner=False)
    updates = algo.config.updates_per_batch * 2
    assert set(versions) <= {algo.train_steps * updates}
    assert versions
    algo.stop()


def test_an_update_that_fails_beside_the_next_step_ends_the_run_with_weights_of_no_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    algo = beside(num_env_runners=1)
    algo.train()
    algo.finish_learning()
    assert not algo.updating
    update = algo.learner_group.update

    def poisoned(*, training_data: Any, **kwargs: Any) -> Any:
        training_data.batch["default_policy"][Columns.ADVANTAGE][:] = float("nan")
        return update(training_data=training_data, **kwargs)

    monkeypatch.setattr(algo.learner_group, "update", poisoned)
    algo.train()
    with pytest.raises(NonFiniteError, match="step 2 was refused"):
        algo.train()
    assert algo.updating, "nobody may save them as those of step 2"
    assert algo.train_steps == 2
    algo.stop()


def test_a_batch_of_a_step_that_failed_is_not_learned_from_after_a_checkpoint_is_restored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    algo = beside(num_env_runners=1)
    algo.train()
    algo.save_to_path(tmp_path / "one")
    expected = weights(algo)
    with monkeypatch.context() as patch:
        patch.setattr(algo, "_send_weights", Mock(side_effect=OSError("the network is down")))
        with pytest.raises(OSError, match="the network is down"):
            algo.train()
    algo.restore_from_path(tmp_path / "one")
    algo.finish_learning()
    assert same(weights(algo), expected)
    assert not algo.updating
    algo.stop()


def test_weights_are_of_a_step_although_the_last_one_has_learned_nothing() -> None:
    algo = beside(num_env_runners=1)
    algo.train()
    with algo.step_frame():
        assert len(algo.rollout(MAIN, algo.next_problems()))
    algo.finish_learning()
    assert not algo.updating, "a run that ends here leaves a checkpoint"
    algo.stop()


def test_a_step_that_fails_does_not_undo_the_update_of_the_batch_before(monkeypatch: pytest.MonkeyPatch) -> None:
    algo = beside(num_env_runners=1, skip_flat_rows=False)
    for _ in range(2):
        algo.train()
    of_the_first = algo.update_surprisal

    def failing() -> None:
        raise RuntimeError("no route to the engines")

    with monkeypatch.context() as patch:
        patch.setattr(algo, "sync_weights", failing)
        with pytest.raises(RuntimeError, match="no route"):
            algo.train()
    assert algo.train_steps == 2
    assert not algo.updating
    assert of_the_first is not None
    assert algo.update_surprisal not in (None, of_the_first)
    algo.stop()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_env_runners": 0}, "async_steps=1 with num_env_runners=0: nobody else samples"),
        ({"sleep_while_learning": True}, "async_steps=1 with sleep_while_learning=True"),
        ({"async_steps": 2}, "async_steps=2"),
    ],
)
def test_what_cannot_be_done_side_by_side_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        small(AEPOConfig(), **{"num_env_runners": 1, "async_steps": 1, **settings}).validate()
