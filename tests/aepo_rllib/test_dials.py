"""Dials: what becomes of a measured entropy and its target."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepo_rllib import AEPOAuthorsConfig, AEPOConfig
from aepo_rllib.algorithms.aepo_constant import AEPOConstantConfig
from aepo_rllib.algorithms.scope_rl import ScopeRLConfig
from aepo_rllib.control.dials import Constant, Dial, HeatingSwitch, ProportionalTemperature, TemperatureSwitch
from aepo_rllib.control.temperature_dials import TEMPERATURE_DIALS

LEVELS = {"temperature_low": 0.8, "temperature_high": 1.2}


@pytest.mark.parametrize(
    ("entropy", "paper", "authors_code"),
    [(0.0, 1.2, 1.2), (0.49, 1.2, 1.2), (0.5, 0.8, 1.2), (0.51, 0.8, 0.8), (5.0, 0.8, 0.8)],
)
def test_the_switch_heats_below_the_target_and_cools_above(entropy: float, paper: float, authors_code: float) -> None:
    assert TemperatureSwitch(**LEVELS).turn(entropy, 0.5) == paper
    assert HeatingSwitch(**LEVELS).turn(entropy, 0.5) == authors_code


@pytest.mark.parametrize("kind", [TemperatureSwitch, ProportionalTemperature])
def test_a_dial_has_its_own_levels(kind: type[Dial]) -> None:
    dial = kind(temperature_low=0.5, temperature_high=1.7)  # type: ignore[call-arg]
    assert (dial.turn(9.0, 0.5), dial.turn(0.0, 9.0)) == (0.5, 1.7)
    assert dial.bounds == (0.5, 1.7)


@pytest.mark.parametrize(
    ("entropy", "temperature"),
    [(0.5, 1.0), (0.4, 1.1), (0.6, 0.9), (0.3, 1.2), (0.29, 1.2), (0.0, 1.2), (0.7, 0.8), (0.71, 0.8), (9.0, 0.8)],
)
def test_proportional_follows_the_error_and_is_clipped(entropy: float, temperature: float) -> None:
    assert ProportionalTemperature(**LEVELS).turn(entropy, 0.5) == pytest.approx(temperature)


def test_the_gain_multiplies_the_error() -> None:
    assert ProportionalTemperature(**LEVELS, gain=0.5).turn(0.3, 0.5) == pytest.approx(1.1)
    assert ProportionalTemperature(**LEVELS, gain=4.0).turn(0.52, 0.5) == pytest.approx(0.92)


def test_a_constant_setting_reads_nothing() -> None:
    dial = Constant(1.3)
    assert {dial.turn(entropy, 0.5) for entropy in (0.0, 0.5, 9.0)} == {1.3}
    assert dial.bounds == (1.3, 1.3)


@pytest.mark.parametrize("kind", TEMPERATURE_DIALS.values(), ids=TEMPERATURE_DIALS)
@given(entropy=st.floats(0, 12), other=st.floats(0, 12), target=st.floats(0.01, 12))
def test_a_lower_entropy_never_gives_a_lower_temperature(
    kind: type[Dial], entropy: float, other: float, target: float
) -> None:
    hot, cold = (
        kind(temperature_low=0.7, temperature_high=1.4).turn(h, target)  # type: ignore[call-arg]
        for h in sorted((entropy, other))
    )
    assert 0.7 <= cold <= hot <= 1.4


@pytest.mark.parametrize("dial", [TemperatureSwitch(**LEVELS), ProportionalTemperature(**LEVELS), Constant(1.0)])
def test_dials_that_look_at_the_present_alone_turn_the_same_after_a_resume(dial: Dial) -> None:
    settings = [dial.turn(entropy, 0.5) for entropy in (0.1, 0.9, 0.45)]
    dial.set_state(json.loads(json.dumps(dial.get_state())))
    assert [dial.turn(entropy, 0.5) for entropy in (0.1, 0.9, 0.45)] == settings


def test_every_method_turns_its_dial() -> None:
    """At the target the paper cools, the authors' code heats, and the later version leaves the temperature alone."""
    for config, at_target, bounds in (
        (AEPOConfig(), 0.8, (0.8, 1.2)),
        (AEPOAuthorsConfig(), 1.2, (0.8, 1.2)),
        (ScopeRLConfig(), 1.0, (0.8, 1.2)),
        (AEPOConstantConfig().entropy_control(temperature=1.1), 1.1, (1.1, 1.1)),
        (AEPOConfig().entropy_control(temperature_low=0.5, temperature_high=1.5), 0.5, (0.5, 1.5)),
    ):
        dial = config.dial()
        assert (dial.turn(0.5, 0.5), dial.bounds) == (at_target, bounds)


def test_options_of_a_controller_reach_it_and_a_misspelt_one_is_named() -> None:
    config = AEPOConfig().entropy_control(controller="proportional", controller_options={"gain": 0.5})
    assert config.dial().turn(0.3, 0.5) == pytest.approx(1.1)
    with pytest.raises(ValueError, match="unknown controller_options key 'gian'; did you mean gain"):
        AEPOConfig().entropy_control(controller="proportional", controller_options={"gian": 0.5}).validate()
    with pytest.raises(ValueError, match="temperature_low"):
        AEPOConfig().entropy_control(controller_options={"temperature_low": 0.5}).validate()
