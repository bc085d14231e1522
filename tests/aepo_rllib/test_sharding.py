"""Learners that share one set of weights compute what learners with all of it do, with half the bytes each."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import ray
import torch
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_OPTIMIZER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID

from aepo_rllib.columns import Columns
from aepo_rllib.experience.passes import PassLimit
from aepo_rllib.learning import together
from aepo_rllib.learning.learner_side import LearnerSide
from aepo_rllib.learning.optimizer_step import LearnerLost, ask_all, naming_lost_learners
from aepo_rllib.models.state_names import PREFIX
from tests.support.learner_groups import ASKED, Layout, build, bytes_of, marked, take, weights_of
from tests.support.modules import ABSOLUTE_POSITIONS

STEPS = 20
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's processes cannot import a test file


ONE = Layout(0, "none")
LAYOUTS = {
    "one process": ONE,
    "DDP, passes by tokens": Layout(2, "none", PassLimit(tokens=60)),
    "FSDP2, one pass": Layout(2, "fsdp"),
    "FSDP2, passes by tokens, activations computed again": Layout(2, "fsdp", PassLimit(tokens=60), checkpoint=True),
    "FSDP2, a padded row a pass": Layout(2, "fsdp", PassLimit(rows=1, share_prompts=False)),
}


class Run(NamedTuple):
    """What a layout has come to."""

    group: Any
    config: Any
    norms: list[float]
    weights: dict[str, np.ndarray]
    scored: list[dict[str, np.ndarray]]


def run(layout: Layout, model: str) -> Run:
    config, group = build(layout, model)
    side = LearnerSide(group, config)
    norms = []
    for step in range(STEPS):
        side.log_probs(ASKED)  # scoring leaves nothing behind that the next step would take for its weights
        norms.append(take(group, config, layout, step))
    return Run(group, config, norms, weights_of(group), side.score(ASKED, [Columns.ENTROPY]))


@pytest.fixture(scope="module")
def model(tiny_models: dict[str, str]) -> str:
    """GPT-2, whose head is tied, too: Llama's norms and rotations compute in float32 whatever the dtype."""
    return tiny_models[ABSOLUTE_POSITIONS]


@pytest.fixture(scope="module")
def expected(ray_cluster: None, model: str) -> Run:
    return run(ONE, model)


QUICK = ("FSDP2, passes by tokens, activations computed again",)
"""It has what is hard; the others take half a minute each, and all of DDP's is tried in smaller forms elsewhere."""


@pytest.fixture(scope="module", params=marked((name for name in LAYOUTS if LAYOUTS[name] != ONE), QUICK))
def layout(request: pytest.FixtureRequest) -> Layout:
    return LAYOUTS[request.param]


@pytest.fixture(scope="module")
def done(layout: Layout, expected: Run, model: str) -> Iterator[Run]:
    result = run(layout, model)
    yield result
    result.group.shutdown()


def test_twenty_steps_of_adamw_are_those_of_one_process(done: Run, expected: Run) -> None:
    assert min(expected.norms) < 2.0 < max(expected.norms)  # some are clipped
    np.testing.assert_allclose(done.norms, expected.norms, rtol=1e-6)
    assert done.weights.keys() == expected.weights.keys()
    for name, value in expected.weights.items():
        np.testing.assert_allclose(done.weights[name], value, rtol=0, atol=1e-6, err_msg=name)


def test_scores_are_those_of_one_process(done: Run, expected: Run) -> None:
    for found, figures in zip(done.scored, expected.scored, strict=True):
        for name, values in figures.items():
            np.testing.assert_allclose(found[name], values, atol=1e-5, err_msg=name)


def test_engines_are_sent_every_weight_once(done: Run) -> None:
    state = done.group.get_state(inference_only=True)[COMPONENT_LEARNER]
    sent = dict(state[COMPONENT_RL_MODULE][DEFAULT_MODULE_ID].items())
    assert "lm_head.weight" not in sent  # tied
    assert {*sent, "lm_head.weight"} == {name.removeprefix(PREFIX) for name in done.weights}
    for name, tensor in sent.items():
        np.testing.assert_array_equal(tensor.numpy(), done.weights[PREFIX + name])


def test_a_learner_holds_its_share_of_weights_and_moments(done: Run, layout: Layout, expected: Run) -> None:
    [(weights, moments)] = ask_all(expected.group, bytes_of)
    share = 2 if layout.sharding == "fsdp" else 1
    for held in ask_all(done.group, bytes_of):
        assert held == (pytest.approx(weights / share, rel=0.01), pytest.approx(moments / share, rel=0.01))
    assert moments == 2 * weights


def assert_equal_state(one: Any, other: Any) -> None:
    states = [group.get_state()[COMPONENT_LEARNER] for group in (one, other)]
    for component in (COMPONENT_RL_MODULE, COMPONENT_OPTIMIZER):
        first, second = (ray.cloudpickle.dumps(_plain(state[component])) for state in states)
        assert first == second, component


def _plain(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _plain(value) for name, value in sorted(tree.items(), key=lambda pair: str(pair[0]))}
    if isinstance(tree, list | tuple):
        return [_plain(value) for value in tree]
    return np.asarray(tree).tolist() if hasattr(tree, "shape") else tree


@pytest.mark.parametrize("way", ["parts on disk", "one state"])
def test_its_state_goes_on_in_one_process_and_comes_back(
    done: Run, layout: Layout, model: str, tmp_path: Path, way: str
) -> None:
    """Bit for bit, whatever number of learners wrote it."""
    _, one = build(ONE, model)

    def carry(source: Any, target: Any, folder: Path) -> None:
        if way == "one state":
            state = source.get_state()
            target.set_state(state)
            target.set_weights(state[COMPONENT_LEARNER][COMPONENT_RL_MODULE])  # RLlib leaves older ones out
        else:
            source.save_to_path(folder)
            target.restore_from_path(folder)

    carry(done.group, one, tmp_path / "there")
    assert_equal_state(one, done.group)
    norm = take(one, done.config, ONE, 100)
    assert take(done.group, done.config, layout, 100) == pytest.approx(norm, rel=1e-6)
    carry(one, done.group, tmp_path / "back")
    assert_equal_state(one, done.group)


def run_out_of_memory(learner: Any) -> None:
    """The second of two learners will, in its first pass from now on; the first one waits for it then."""

    def failing(*args: Any, **kwargs: Any) -> Any:
        raise torch.OutOfMemoryError("there is no room for 7 GiB")

    if learner.index == 1:
        learner.module.forward_train = failing


def test_a_learner_that_raises_in_the_middle_of_a_step_ends_it_within_seconds_and_is_named(
    done: Run, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No later test has these learners: the other one was ended where it waited."""
    monkeypatch.setattr(together, "PATIENCE_S", 1.0)
    ask_all(done.group, run_out_of_memory)
    started = time.monotonic()
    with (
        pytest.raises(LearnerLost, match=r"learner 1 of 2 raised OutOfMemoryError: there is no room for 7 GiB"),
        naming_lost_learners(done.group),
    ):
        take(done.group, done.config, layout, 3)
    assert time.monotonic() - started < 20
    assert [*done.group.failures] == [1]
    with pytest.raises(LearnerLost, match="are there no more"):
        ask_all(done.group, id)


def test_before_its_first_step_a_state_has_no_moments_and_gets_none(
    ray_cluster: None, model: str, tmp_path: Path
) -> None:
    config, group = build(ONE, model)
    _, other = build(ONE, model)
    take(other, config, ONE, 0)
    group.save_to_path(tmp_path / "new")
    other.restore_from_path(tmp_path / "new")
    assert_equal_state(group, other)
    assert take(group, config, ONE, 1) == take(other, config, ONE, 1)
    assert_equal_state(group, other)


@pytest.mark.slow
def test_in_sixteen_bits_masters_and_gradients_keep_thirty_two(ray_cluster: None) -> None:
    """Against one process under autocast: log-probs differ by rounding; and a step of 1e-6 is not lost."""
    layout = Layout(2, "fsdp", dtype="bfloat16")
    config, group = build(layout, "embedded")
    _, alone = build(layout._replace(learners=0, sharding="none"), "embedded")
    try:
        before = weights_of(group)
        found, expected = (LearnerSide(each, config).log_probs(ASKED) for each in (group, alone))
        off = np.abs(np.concatenate(found) - np.concatenate(expected))
        assert 0 < off.max() < 0.3
        ask_all(group, lambda learner: [each.update(lr=1e-6) for each in learner.optimizer.param_groups] and None)
        take(group, config.copy(copy_frozen=False).training(lr=1e-6), layout, 0)
        after = weights_of(group)
        moved = np.concatenate([(after[name] - before[name]).ravel() for name in after])
        assert {value.dtype for value in after.values()} == {np.dtype("float32")}
        assert 0 < np.abs(moved).max() < 1.1e-3
        sent = group.get_state(inference_only=True)[COMPONENT_LEARNER][COMPONENT_RL_MODULE][DEFAULT_MODULE_ID]
        assert {str(tensor.dtype) for tensor in dict(sent.items()).values()} == {"torch.bfloat16"}
        assert sent.bytes == 2 * sum(tensor.numel() for tensor in dict(sent.items()).values())
    finally:
        group.shutdown()
