"""`SteadyDial` on plants whose law is written here, and on real training."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aepo_rllib import AEPOConfig, metrics
from aepo_rllib.algorithms.aepo_signed import AEPOSignedConfig
from aepo_rllib.control.dials import Outcome
from aepo_rllib.control.steady import SteadyDial
from aepo_rllib.objectives.entropy import tempering_gain
from tests.support.small_runs import small

BASE = 0.88


class Plant:
    """An entropy that follows the tempered term with Adam's inertia, and that GRPO pulls down.

    Args:
        gain: Change of entropy per actuation: the dial expects 0.6.
        pull: Nats a step at the base entropy, and in proportion to it.
        noise: Standard deviation of a batch's entropy, in nats.
        share: Of completions that are correct at T = 1; `loss` takes from it per unit of heat.
        delay: Steps by which an actuation comes late.
    """

    def __init__(
        self, gain: float = 0.6, pull: float = -0.0015, noise: float = 0.018, loss: float = 1.7, delay: int = 0
    ) -> None:
        self.gain, self.pull, self.noise, self.loss = gain, pull, noise, loss
        self.entropy, self.moving, self.late = BASE, 0.0, [0.0] * delay
        self.rng = np.random.default_rng(0)

    def measured(self) -> float:
        return self.entropy + self.noise * self.rng.standard_normal()

    def step(self, temperature: float, strength: float) -> Outcome:
        share = 0.4 * np.exp(-self.loss * max(temperature - 1, 0.0))
        per_token = 0.026 * self.entropy
        self.late.append(strength * share * per_token * (temperature - 1))
        self.moving = 0.81 * self.moving + 0.19 * self.late.pop(0)
        self.entropy = max(self.entropy + self.gain * self.moving + self.pull * self.entropy / BASE, 1e-3)
        return Outcome(positives=10, share=float(share), untempered_share=0.4, gain=per_token)


class Run(NamedTuple):
    entropies: np.ndarray
    temperatures: np.ndarray
    said: list[str]


def run(plant: Plant, target: Callable[[int], float], steps: int, **options: Any) -> Run:
    """A run of the dial on a plant; the entropies are the plant's own, without noise."""
    dial = SteadyDial(0.5, 1.6, inertia=0.81, **options)
    entropies, temperatures, said = [], [], []
    for step in range(steps):
        temperature = dial.turn(plant.measured(), target(step))
        said += dial.learn(plant.step(temperature, dial.strength))
        entropies.append(plant.entropy)
        temperatures.append(temperature)
    return Run(np.array(entropies), np.array(temperatures), said)


def arrived(entropies: np.ndarray, target: float) -> int:
    """First step from which on the entropy stays within 5 % of the target."""
    outside = np.abs(entropies - target) > 0.05 * target
    return int(np.flatnonzero(outside).max(initial=-1)) + 1


@pytest.mark.parametrize("level", [0.5, 0.75, 1.0, 1.25])
@pytest.mark.parametrize("gain", [0.3, 0.6, 2.4], ids="gain {}".format)
def test_targets_are_reached_and_held_without_passing_them(level: float, gain: float) -> None:
    target = level * BASE
    entropies, _, said = run(Plant(gain=gain), lambda _: target, steps=500)
    second_half = entropies[250:]
    assert abs(second_half.mean() - target) < 0.01 * target
    assert np.abs(second_half - target).mean() < 0.02 * target
    passed = (target - entropies).max() if level < 1 else (entropies - target).max()
    assert passed < 0.05 * target
    assert arrived(entropies, target) < 240
    assert said == [] or (level, gain) == (1.25, 0.3)


def test_it_does_not_wind_up_at_a_bound() -> None:
    """200 steps of a target that it cannot reach, then one that it can."""
    target = 0.9 * BASE
    plant = Plant(pull=-0.002)
    entropies, temperatures, _ = run(plant, lambda step: 5 * BASE if step < 200 else target, steps=330)
    assert entropies[199] > target  # it has heated all the time
    assert (temperatures[200:205] < 1).all()  # and cools at once
    assert (target - entropies[200:]).max() < 0.05 * target
    assert arrived(entropies[200:], target) < 110


def test_a_moving_target_is_followed_without_lagging_behind() -> None:
    """From the base to half of it in 200 steps; a loop without foresight would lag by slope / speed = 0.015 nats."""

    def target(step: int) -> float:
        return BASE * (1 - 0.5 * min(step / 200, 1.0))

    entropies, _, _ = run(Plant(noise=0.0), target, steps=300)
    errors = entropies[60:200] - np.array([target(step + 1) for step in range(60, 200)])
    assert abs(errors.mean()) < 0.003


def test_a_target_out_of_reach_is_named_with_what_is_within_reach_before_step_50() -> None:
    target = 3 * BASE
    run_of_50 = run(Plant(), lambda _: target, steps=49)
    [text] = run_of_50.said
    assert f"target_entropy {target:.3g} nats/token is out of reach" in text
    low, high = (float(word) for word in text.split("between ")[1].split(";")[0].split(" and "))
    heated = run(Plant(), lambda _: target, steps=49 + 100).entropies[-1]
    assert low < BASE < high < target
    assert high == pytest.approx(heated, rel=0.25)


@pytest.mark.parametrize("level", [0.5, 1.0, 1.5])
def test_heat_that_cools_is_found_out(level: float) -> None:
    """A plant of the other sign: the dial lets go, and says why, before it has done much harm."""
    entropies, temperatures, said = run(Plant(gain=-0.6, pull=0.0), lambda _: level * BASE, steps=300)
    assert any("heat cools" in text for text in said)
    assert (temperatures == 1).mean() > 0.5
    assert 0.6 * BASE < entropies.min() < entropies.max() < 1.4 * BASE


@pytest.mark.parametrize("delay", [0, 1, 2])
def test_a_known_delay_makes_it_slower_not_unstable(delay: int) -> None:
    target = 0.5 * BASE
    entropies, _, _ = run(Plant(delay=delay), lambda _: target, steps=400, delay=delay)
    assert (target - entropies).max() < 0.05 * target
    assert np.abs(entropies[200:] - target).mean() < 0.02 * target


def test_an_engine_that_measures_no_gain_is_enough() -> None:
    class Blind(Plant):
        def step(self, temperature: float, strength: float) -> Outcome:
            return super().step(temperature, strength)._replace(gain=None)

    target = 0.6 * BASE
    entropies, _, _ = run(Blind(), lambda _: target, steps=300)
    assert np.abs(entropies[150:] - target).mean() < 0.02 * target
    assert (target - entropies).max() < 0.05 * target


@given(loss=st.floats(0.5, 6.0))
def test_it_is_never_hotter_than_what_pays(loss: float) -> None:
    dial = SteadyDial(0.5, 4.0)
    dial.set_state(dial.get_state() | {"_loss": loss})
    heats = np.linspace(1e-3, 3, 5000)
    assert dial.hottest - 1 == pytest.approx(heats[np.argmax(heats * np.exp(-loss * heats))], abs=2e-3)


@given(logits=st.lists(st.floats(-4, 4), min_size=2, max_size=6))
def test_the_tempering_gain_is_the_slope_of_theorem_c(logits: list[float]) -> None:
    """D(T) = sum_a pi^T_a phi_a with Lemma B's phi, differentiated at T = 1 by automatic differentiation."""
    z_V = torch.tensor(logits, dtype=torch.float64)
    p_V = z_V.softmax(0)
    u_V = p_V.log() - (p_V * p_V.log()).sum()
    phi_V = -p_V * u_V + (p_V.square() * u_V).sum()
    temperature = torch.ones((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(((z_V / temperature).softmax(0) * phi_V).sum(), temperature)
    torch.testing.assert_close(tempering_gain(p_V.log()), slope, atol=1e-12, rtol=1e-9)


@given(entropies=st.lists(st.floats(0.05, 2), min_size=1, max_size=6), gains=st.one_of(st.none(), st.floats(0, 0.1)))
def test_a_restored_dial_goes_on_where_it_was(entropies: list[float], gains: float | None) -> None:
    first, second = (SteadyDial(0.5, 1.6, delay=1) for _ in range(2))
    for entropy in entropies:
        first.turn(entropy, 0.5)
        first.learn(Outcome(3, 0.2, 0.4, gains))
    second.set_state(json.loads(json.dumps(first.get_state())))
    for dial in (first, second):
        dial.turn(0.3, 0.6)
        dial.learn(Outcome(0, None, None, gains))
    assert (second.turn(0.4, 0.6), second.strength) == (first.turn(0.4, 0.6), first.strength)
    assert second.figures() == first.figures()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"speed": 0}, "speed=0 must be above 0"),
        ({"strength_most": 0.5}, "strength_most=0.5 must be at least 1"),
    ],
)
def test_options_out_of_range_are_refused_before_training(options: dict[str, Any], words: str) -> None:
    config = AEPOConfig().entropy_control(controller="steady", controller_options=options)
    with pytest.raises(ValueError, match=words):
        config.validate()


def test_the_config_tells_it_adams_inertia_and_the_delay() -> None:
    config = AEPOConfig().entropy_control(controller="steady").training(updates_per_batch=3, async_steps=1)
    dial = config.dial()
    assert dial.observer.inertia == pytest.approx(0.9**3)
    assert len(dial.get_state()["_waiting"]) == 1


def training(config: AEPOConfig, steps: int) -> Iterator[dict[str, Any]]:
    algo = config.build_algo()
    try:
        for _ in range(steps):
            yield algo.train()[metrics.CONTROL]
    finally:
        algo.stop()


def test_strength_reaches_the_loss(ray_cluster) -> None:
    """At its stop, the dial multiplies alpha: the tempered term's loss grows by it, the same rows given."""
    wide = {"temperature_low": 0.5, "temperature_high": 1.6, "controller": "steady", "target_entropy": "3x"}
    losses = []
    for most in (1.0, 3.0):
        config = small(AEPOConfig().debugging(seed=1), **wide, controller_options={"strength_most": most})
        algo = config.build_algo()
        try:
            result = algo.train()
        finally:
            algo.stop()
        assert result[metrics.CONTROL]["strength"] == most
        losses.append(result["learners"]["default_policy"][metrics.loss_of("tempered")])
    assert losses[1] == pytest.approx(3 * losses[0], rel=0.05)


@pytest.mark.slow
def test_negatives_that_are_kept_are_found_out_in_training(ray_cluster, caplog: pytest.LogCaptureFixture) -> None:
    """AEPO with both signs: hot samples lower the entropy. Half a minute of real training."""
    config = (
        AEPOSignedConfig()
        .debugging(seed=0)
        .entropy_control(target_entropy="1.0x", controller="steady", temperature_low=0.5, temperature_high=1.6)
    )
    config.evaluation(evaluation_interval=None)
    with caplog.at_level(logging.WARNING):
        steps = list(training(config.language_model(model_path="embedded"), 60))
    assert steps[-1][metrics.TEMPERATURE] == 1
    assert "heat cools" in caplog.text
