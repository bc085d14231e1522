"""`EntropyObserver` against dense linear algebra and sums by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepo_rllib.control import observer as observing
from aepo_rllib.control.observer import EntropyObserver

actuations = st.lists(st.floats(-0.02, 0.02), min_size=1, max_size=12)


def posterior(measured: list[float], applied: list[float], inertia: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of (entropy, pull, gain) after the last measurement, as one regression over the unknowns of
    all steps: priors, changes and measurements are rows of least squares, each divided by its standard deviation."""
    scale, steps = measured[0], len(measured)
    rows, values = [], []

    def row(places: dict[int, float], value: float, deviation: float) -> None:
        line = np.zeros(3 * steps)
        for place, factor in places.items():
            line[place] = factor
        rows.append(line / deviation)
        values.append(value / deviation)

    row({0: 1.0}, scale, observing.NOISE * scale)
    row({1: 1.0}, 0.0, observing.PULL_ERROR * scale)
    row({2: 1.0}, observing.GAIN, observing.GAIN_ERROR)
    moving = 0.0
    for step, actuation in enumerate(applied):
        moving = inertia * moving + (1 - inertia) * actuation
        now, after = 3 * step, 3 * step + 3
        entropy, pull, gain = observing.DRIFT
        row({after: 1.0, now: -1.0, now + 1: -1.0, now + 2: -moving}, 0.0, entropy * scale)
        row({after + 1: 1.0, now + 1: -1.0}, 0.0, pull * scale)
        row({after + 2: 1.0, now + 2: -1.0}, 0.0, gain * observing.GAIN)
    for step, entropy in enumerate(measured):
        row({3 * step: 1.0}, entropy, observing.NOISE * scale)
    design = np.array(rows)
    covariance = np.linalg.inv(design.T @ design)
    return (covariance @ design.T @ np.array(values))[-3:], covariance[-3:, -3:]


@settings(deadline=None, max_examples=30)
@given(applied=actuations, seed=st.integers(0, 99), inertia=st.floats(0, 0.95))
def test_it_is_the_posterior_of_its_model(applied: list[float], seed: int, inertia: float) -> None:
    rng = np.random.default_rng(seed)
    measured = (0.8 + 0.05 * rng.standard_normal(len(applied) + 1)).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observing, "NOISE_MEMORY", 0.0)
        observer = EntropyObserver(inertia)
        observer.measure(measured[0])
        for actuation, entropy in zip(applied, measured[1:], strict=True):
            observer.step(actuation)
            observer.measure(entropy)
    mean, covariance = posterior(measured, applied, inertia)
    np.testing.assert_allclose((observer.entropy, observer.pull, observer.gain), mean, rtol=1e-6, atol=1e-9)
    assert observer.gain_error == pytest.approx(math.sqrt(covariance[2, 2]), rel=1e-6)


@given(applied=actuations, steady=st.floats(-0.01, 0.01), waiting=st.lists(st.floats(-0.02, 0.02), max_size=2))
def test_what_is_in_flight_is_what_still_comes(applied: list[float], steady: float, waiting: list[float]) -> None:
    observer = EntropyObserver(inertia=0.8)
    for actuation in applied:
        observer.step(actuation)
    told, still = observer.in_flight(steady, *waiting), 0.0
    for actuation in [*waiting, *[steady] * 300]:
        observer.step(actuation)
        still += observer.moving - steady
    assert told == pytest.approx(still, abs=1e-9)


def test_it_finds_out_pull_and_gain() -> None:
    """A plant of its own kind, with three times the gain that it expects, and a pull it has not heard of."""
    rng, observer, entropy, moving = np.random.default_rng(0), EntropyObserver(0.8), 0.8, 0.0
    for step in range(150):
        observer.measure(entropy + 0.02 * rng.standard_normal())
        actuation = 0.004 * (1 if step // 10 % 2 else -1)
        observer.step(actuation)
        moving = 0.8 * moving + 0.2 * actuation
        entropy += 1.8 * moving - 0.001
    assert observer.gain == pytest.approx(1.8, abs=3 * observer.gain_error)
    assert observer.gain_error < 0.3
    assert observer.pull == pytest.approx(-0.001, abs=0.0006)
    assert observer.entropy == pytest.approx(entropy, abs=0.02)
    assert observer.noise == pytest.approx(0.02, rel=0.35)


def test_noise_is_told_from_steady_change() -> None:
    observer = EntropyObserver(0.8)
    for step in range(300):
        observer.measure(5.0 - 0.01 * step)
        observer.step(0.0)
    assert observer.noise < 1e-3


@given(applied=actuations)
def test_a_restored_observer_goes_on_where_it_was(applied: list[float]) -> None:
    first, second = EntropyObserver(0.8), EntropyObserver(0.8)
    first.measure(0.7)
    for actuation in applied:
        first.step(actuation)
        first.measure(0.7 + actuation)
    second.set_state(json.loads(json.dumps(first.get_state())))
    for observer in (first, second):
        observer.step(0.01)
        observer.measure(0.71)
    assert second.get_state() == first.get_state()
