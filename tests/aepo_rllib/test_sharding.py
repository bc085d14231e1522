"""Learners that share one set of weights compute what learners with all of it do, with half the bytes each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import ray
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_OPTIMIZER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec

from aepo_rllib import AEPOConfig
from aepo_rllib.columns import Columns
from aepo_rllib.experience.dealing import Mean, deal
from aepo_rllib.experience.passes import PassLimit, passes_of
from aepo_rllib.experience.rows import Row, RowGroups
from aepo_rllib.learning.learner_side import LearnerSide
from aepo_rllib.learning.optimizer_step import ask_all, take_step
from aepo_rllib.models.state_names import PREFIX
from aepo_rllib.objectives.parts import MAIN
from tests.support.modules import ABSOLUTE_POSITIONS

STEPS = 20
ASKED = [([5, 6, 7], [8, 9, 10, 11]), ([3, 4], [5, 6]), ([9], [1])]
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's processes cannot import a test file


class Layout(NamedTuple):
    """How a batch is spread."""

    learners: int
    sharding: str
    limit: PassLimit = PassLimit()
    dtype: str = "float64"
    checkpoint: bool = False


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


def batch(step: int) -> dict[str, RowGroups]:
    """Both streams; lengths from 1 on, some steps with a single group, so that a learner has no row."""
    generator = np.random.default_rng(step)

    def row(prompt: list[int], place: int) -> Row:
        tokens = int(generator.integers(1, 17))
        logp = (-np.abs(generator.standard_normal(tokens)) - 2).astype(np.float32)
        advantage = float(generator.integers(2)) if place else float(generator.standard_normal())
        return Row(prompt, generator.integers(2, 32, tokens), logp, advantage, place, tempered=bool(place))

    def group(place: int) -> list[Row]:
        prompt = generator.integers(5, 32, generator.integers(4, 12)).tolist()
        return [row(prompt, place) for _ in range(3)]

    return {name: [group(place) for _ in range(1 + step % 4)] for place, name in enumerate((MAIN, "tempered"))}


def build(layout: Layout, model: str) -> tuple[Any, Any]:
    config = AEPOConfig().language_model(model_path=model, dtype=layout.dtype, share_prompts=layout.limit.share_prompts)
    config = config.training(lr=1e-3, grad_clip=2.0, weight_decay=0.01, checkpoint_activations=layout.checkpoint)
    config = config.learners(num_learners=layout.learners, num_cpus_per_learner=1, learner_sharding=layout.sharding)
    spec = MultiRLModuleSpec(rl_module_specs={DEFAULT_MODULE_ID: config.get_default_rl_module_spec()})
    return config, config.build_learner_group(rl_module_spec=spec)


def take(group: Any, config: Any, layout: Layout, step: int) -> float:
    """One optimizer step; the norm of its gradient before clipping."""
    learners = max(layout.learners, 1)
    [shares] = deal(batch(step), config.method(), Mean("token-mean", 16), updates=1, learners=learners)
    taken = take_step(group, passes_of(shares, layout.limit), env_steps=0, step=step)
    return float(taken.results[0][DEFAULT_MODULE_ID]["gradients_default_optimizer_global_norm"].peek())


def weights_of(group: Any) -> dict[str, np.ndarray]:
    return {name: value.copy() for name, value in group.get_weights()[DEFAULT_MODULE_ID].items()}


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


QUICK = ("FSDP2, one pass", "FSDP2, passes by tokens, activations computed again")
"""The others take half a minute each; all of DDP's is tried in smaller forms elsewhere."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in LAYOUTS if LAYOUTS[name] != ONE
    ],
)
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


def bytes_of(learner: Any) -> tuple[int, int]:
    """Of weights, and of Adam's moments, that this process holds."""

    def held(tensor: Any) -> int:
        return (tensor.to_local() if hasattr(tensor, "to_local") else tensor).nbytes

    optimizer = learner.optimizer
    moments = [m for state in optimizer.state.values() for m in state.values() if m.dim()]
    return sum(map(held, learner.parameters())), sum(map(held, moments))


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
