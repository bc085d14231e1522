"""`DialLoop`: what a dial is shown, what is kept of it, and what a failed training step leaves behind."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepo_rllib import AEPOConfig, metrics
from aepo_rllib.control.dial_loop import DialLoop
from aepo_rllib.control.dials import Constant, Dial, Outcome, TemperatureSwitch
from aepo_rllib.control.monitor import WINDOW
from tests.support.small_runs import figures, small


class Remembering:
    """A dial that keeps what it was shown, in one list for good, and turns by the sum of its errors."""

    def __init__(self, temperature_low: float, temperature_high: float, gain: float = 0.2) -> None:
        self.bounds, self.gain, self.errors = (temperature_low, temperature_high), gain, []

    def turn(self, entropy: float, target: float) -> float:
        self.errors.append(target - entropy)
        low, high = self.bounds
        return min(max(1.0 + self.gain * sum(self.errors), low), high)

    def get_state(self) -> dict[str, Any]:
        return {"errors": self.errors}

    def set_state(self, state: dict[str, Any]) -> None:
        self.errors = state["errors"]


def remembering() -> Dial:
    return Remembering(0.8, 1.2)


entropies = st.lists(st.floats(0, 5), min_size=1, max_size=9)


@given(measured=entropies, window=st.integers(1, 4), lag=st.integers(0, 1))
def test_a_dial_is_shown_the_mean_of_the_last_batches(measured: list[float], window: int, lag: int) -> None:
    loop = DialLoop(Constant(1.0), window=window, lag=lag, initial=0.7)
    for step, entropy in enumerate(measured):
        known = measured[: step + 1 - lag][-window:]
        turned = loop.turn(entropy, target=0.5)
        assert turned.entropy == pytest.approx(sum(known) / len(known) if known else 0.7)
        assert (turned.target, turned.setting) == (0.5, 1.0)


def test_where_nothing_is_measured_the_dial_reads_what_it_was_given_or_stays_neutral() -> None:
    switch = TemperatureSwitch(0.8, 1.2)
    assert DialLoop(switch, initial=0.0).turn(None, 0.5) == (0.0, 0.5, 1.2)
    assert DialLoop(switch).turn(None, 0.5) == (None, 0.5, 1.0)
    assert DialLoop(switch, lag=1).turn(0.3, 0.5) == (None, 0.5, 1.0)
    assert DialLoop(Constant(0.2), setting="coefficient").turn(None, 0.5) == (None, 0.5, 0.0)
    assert DialLoop(remembering()).turn(None, 0.5).setting == 1.0


@given(measured=entropies, window=st.integers(1, 4), initial=st.sampled_from([None, 0.7]))
def test_a_dial_that_reads_earlier_batches_turns_ahead_of_the_next_as_it_would_after_it(
    measured: list[float], window: int, initial: float | None
) -> None:
    late, early = (DialLoop(remembering(), window=window, lag=1, initial=initial) for _ in range(2))
    for entropy in measured:
        known = early.ahead(0.5)
        assert early.turn(entropy, 0.5) == late.turn(entropy, 0.5)
        assert early.last is not None
        assert early.last.setting == known
    assert early.get_state() == late.get_state()


def test_what_a_dial_of_this_batch_turns_to_is_known_ahead_only_where_there_is_one_setting() -> None:
    assert DialLoop(TemperatureSwitch(0.8, 1.2)).ahead(0.5) is None
    constant = DialLoop(Constant(1.3))
    assert constant.ahead(0.5) == 1.3
    assert constant.turn(0.4, 0.5) == (0.4, 0.5, 1.3)


def test_a_turn_ahead_is_undone_where_the_step_fails() -> None:
    loop = DialLoop(remembering(), lag=1, initial=0.4)
    before = loop.get_state()
    known = loop.ahead(0.5)
    loop.set_state(before)
    assert loop.ahead(2.0) != known
    assert loop.get_state()["dial"] == {"errors": [2.0 - 0.4]}


def test_a_dial_that_was_not_asked_remembers_nothing() -> None:
    loop = DialLoop(remembering())
    loop.turn(None, 0.5)
    assert loop.dial.get_state() == {"errors": []}


def test_what_the_monitor_says_is_about_the_last_turn() -> None:
    """A turn by hand is no turn: without an entropy there is nothing to look at."""
    loop = DialLoop(TemperatureSwitch(0.8, 1.2))
    assert loop.watch(Outcome(3)) == []
    for _ in range(2 * WINDOW):
        loop.turn(None, 0.8)
        assert loop.watch(Outcome(0)) == []
    said = []
    for _ in range(WINDOW):
        loop.turn(0.3, 0.8)
        said += loop.watch(Outcome(20))
    [text] = said
    assert "in 50 of the last 50 steps, with a setting of 1.2" in text
    assert "0.500 nats/token below its target 0.800" in text


def test_hot_is_above_neutral_be_it_a_temperature_or_a_coefficient() -> None:
    for setting, value, hot in (("temperature", 0.5, 0), ("temperature", 1.1, 1), ("coefficient", 0.5, 1)):
        loop = DialLoop(Constant(value), setting=setting)
        loop.turn(0.3, 0.8)
        loop.watch(Outcome(3))
        assert loop.monitor.hot_share == hot


def test_a_constant_temperature_cannot_be_stuck() -> None:
    loop = DialLoop(Constant(1.2))
    for _ in range(2 * WINDOW):
        loop.turn(0.3, 0.8)
        assert loop.watch(Outcome(3)) == []
    assert not loop.monitor.stuck


@given(before=entropies, after=entropies, window=st.integers(1, 3), lag=st.integers(0, 1))
def test_a_restored_loop_goes_on_where_it_was(before: list[float], after: list[float], window: int, lag: int) -> None:
    first, second = (DialLoop(remembering(), window=window, lag=lag, initial=0.0) for _ in range(2))
    for entropy in before:
        first.turn(entropy, 0.5)
        first.watch(Outcome(2))
    second.set_state(json.loads(json.dumps(first.get_state())))
    for entropy in after:
        assert second.turn(entropy, 0.5) == first.turn(entropy, 0.5)
        assert second.watch(Outcome(2)) == first.watch(Outcome(2))
    assert second.get_state() == first.get_state()


def test_a_failed_training_step_has_not_turned_the_dial(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its entropy is forgotten, and a dial with a memory forgets it too: taken again, the step is the same."""
    controller = f"{__name__}:{Remembering.__name__}"
    config = small(AEPOConfig(), controller=controller, entropy_window=3, evaluation_interval=None)
    runs = []
    for fails in (False, True):
        algo = config.copy(copy_frozen=False).build_algo()
        group = algo.learner_group
        try:
            algo.train()
            if fails:
                before, meanwhile = copy.deepcopy(algo.own_state()), []

                def failing(*args: Any, **kwargs: Any) -> None:
                    meanwhile.append(copy.deepcopy(algo.own_state()))  # noqa: B023
                    raise RuntimeError("out of memory")

                with monkeypatch.context() as patch:
                    patch.setattr(group, "update", failing)
                    with pytest.raises(RuntimeError, match="out of memory"):
                        algo.train()
                assert len(meanwhile[0]["dial"]["entropies"]) == len(before["dial"]["entropies"]) + 1 == 2
                assert len(meanwhile[0]["dial"]["dial"]["errors"]) == len(before["dial"]["dial"]["errors"]) + 1 == 2
                assert algo.own_state() == before
            runs.append((figures(algo.train()), algo.own_state()))
        finally:
            algo.stop()
    assert runs[0] == runs[1]
    assert f"{metrics.CONTROL}/{metrics.TEMPERATURE}" in runs[0][0]
