"""Learners of adapters (DDP, FSDP2) take the steps of one process, with the adapters' gradients and moments alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import ray
import torch
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from torch.distributed.checkpoint import FileSystemReader

from aepo_rllib.columns import Columns
from aepo_rllib.experience.passes import PassLimit
from aepo_rllib.learning.learner_group import PARTS
from aepo_rllib.learning.learner_side import LearnerSide
from aepo_rllib.learning.optimizer_step import ask_all
from aepo_rllib.models.hf import load_model
from aepo_rllib.models.named_folder import EMBEDDED
from aepo_rllib.models.named_weights import copy_weights, own_state
from tests.support.learner_groups import ASKED, Layout, bytes_of, marked, take, weights_of
from tests.support.learner_groups import build as build_learners
from tests.support.modules import ABSOLUTE_POSITIONS

RANK, ALPHA, STEPS, CLIP = 4, 12.0, 10, 0.9
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's processes cannot import a test file


def build(layout: Layout, model: str, **options: Any) -> tuple[Any, Any]:
    return build_learners(layout, model, clip=CLIP, **{"lora_rank": RANK, "lora_alpha": ALPHA} | options)


ONE = Layout(0, "none")
LAYOUTS = {
    "DDP, passes by tokens": Layout(2, "none", PassLimit(tokens=60)),
    "FSDP2, one pass": Layout(2, "fsdp"),
    "FSDP2, passes by tokens, activations computed again": Layout(2, "fsdp", PassLimit(tokens=60), checkpoint=True),
}


class Run(NamedTuple):
    """What a layout has come to."""

    group: Any
    config: Any
    first: dict[str, np.ndarray]
    norms: list[float]
    weights: dict[str, np.ndarray]
    scored: list[list[dict[str, np.ndarray]]]


def run(layout: Layout, model: str) -> Run:
    config, group = build(layout, model)
    side, first = LearnerSide(group, config), weights_of(group)
    reference = side.score(ASKED, by_reference=True)
    norms = []
    for step in range(STEPS):
        side.log_probs(ASKED)
        norms.append(take(group, config, layout, step))
    scored = [reference, side.score(ASKED, by_reference=True), side.score(ASKED, [Columns.ENTROPY])]
    return Run(group, config, first, norms, weights_of(group), scored)


@pytest.fixture(scope="module")
def gpt2(tiny_models: dict[str, str]) -> str:
    """Its maps are stored the other way round, and its head is tied."""
    return tiny_models[ABSOLUTE_POSITIONS]


@pytest.fixture(scope="module")
def expected(ray_cluster: None, gpt2: str) -> Run:
    return run(ONE, gpt2)


QUICK = ("FSDP2, passes by tokens, activations computed again",)
"""The others take half a minute each."""


@pytest.fixture(scope="module", params=marked(LAYOUTS, QUICK))
def layout(request: pytest.FixtureRequest) -> Layout:
    return LAYOUTS[request.param]


@pytest.fixture(scope="module")
def done(layout: Layout, expected: Run, gpt2: str) -> Iterator[Run]:
    result = run(layout, gpt2)
    yield result
    result.group.shutdown()


def test_ten_steps_of_adamw_are_those_of_one_process(done: Run, expected: Run) -> None:
    assert min(expected.norms) < CLIP < max(expected.norms)  # some are clipped
    np.testing.assert_allclose(done.norms, expected.norms, rtol=1e-6)
    assert done.weights.keys() == expected.weights.keys()
    for name, value in expected.weights.items():
        np.testing.assert_array_equal(done.first[name], expected.first[name])
        assert (value != expected.first[name]).any()
        np.testing.assert_allclose(done.weights[name], value, rtol=0, atol=1e-6, err_msg=name)


def test_the_reference_is_the_base_before_and_after_and_the_policy_goes_on(done: Run, expected: Run, gpt2: str) -> None:
    """Against a learner of all weights, which builds a second model for it."""
    config, group = build(ONE, gpt2, lora_rank=None, lora_alpha=None)
    base = LearnerSide(group, config).score(ASKED)
    for of in (expected, done):
        before, after, policy = of.scored
        for row, same, now, exact in zip(before, after, policy, base, strict=True):
            np.testing.assert_array_equal(row[Columns.POLICY_LOGP], same[Columns.POLICY_LOGP])
            np.testing.assert_allclose(row[Columns.POLICY_LOGP], exact[Columns.POLICY_LOGP], atol=1e-6)
            assert np.abs(now[Columns.POLICY_LOGP] - exact[Columns.POLICY_LOGP]).max() > 1e-3
    for row, exact in zip(done.scored[2], expected.scored[2], strict=True):
        for name in exact:
            np.testing.assert_allclose(row[name], exact[name], atol=1e-5)


def test_engines_are_sent_merged_weights_by_the_models_own_names(done: Run, gpt2: str) -> None:
    state = done.group.get_state(inference_only=True)[COMPONENT_LEARNER]
    sent = dict(state[COMPONENT_RL_MODULE][DEFAULT_MODULE_ID].items())
    plain = load_model(gpt2, dtype="float64")
    assert sent.keys() == own_state(plain).keys()
    copy_weights(plain, sent)
    figures = LearnerSide(done.group, done.config).log_probs(ASKED)
    for (prompt, completion), found in zip(ASKED, figures, strict=True):
        ids = torch.tensor([[*prompt, *completion]])
        law = plain(ids).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
        own = law.gather(-1, torch.tensor(completion)[:, None])[:, 0].detach()
        np.testing.assert_allclose(found, own, atol=1e-5)


def gradient_bytes(learner: Any) -> int:
    """Of the last step, as far as this process holds them."""
    parts = (getattr(gradient, "to_local", lambda g=gradient: g)() for gradient in learner.gradients().values())
    return sum(part.nbytes for part in parts)


def adapter_numbers(model: str) -> int:
    """Counted from the shapes: rank x (inputs + outputs) of every map."""
    base = load_model(model)
    maps = [weight for name, weight in base.named_parameters() if weight.ndim == 2 and ".h." in name]
    return sum(RANK * sum(weight.shape) for weight in maps)


def test_moments_and_gradients_are_those_of_adapters_alone(done: Run, layout: Layout, gpt2: str) -> None:
    numbers, share = adapter_numbers(gpt2), 2 if layout.sharding == "fsdp" else 1
    frozen = sum(parameter.nbytes for parameter in load_model(gpt2, dtype="float64").parameters())
    for held, moments in ask_all(done.group, bytes_of):
        assert moments == pytest.approx(2 * 8 * numbers / share, rel=0.02)
        assert held == pytest.approx((8 * numbers + frozen) / share, rel=0.02)
    for gradients in ask_all(done.group, gradient_bytes):
        assert gradients == pytest.approx(8 * numbers / share, rel=0.02)


def test_parts_on_disk_hold_adapters_alone_and_go_on_in_one_process(
    done: Run, layout: Layout, gpt2: str, tmp_path: Path
) -> None:
    done.group.save_to_path(tmp_path / "there")
    stored = FileSystemReader(tmp_path / "there" / PARTS).read_metadata().state_dict_metadata
    assert all("lora_" in name for name in stored)
    steps = sum(name.endswith(".step") for name in stored)
    assert sum(entry.size.numel() for entry in stored.values()) == 3 * adapter_numbers(gpt2) + steps
    _, one = build(ONE, gpt2)
    one.restore_from_path(tmp_path / "there")
    for name, value in weights_of(done.group).items():
        np.testing.assert_array_equal(weights_of(one)[name], value)
    norm = take(one, done.config, ONE, 100)
    assert take(done.group, done.config, layout, 100) == pytest.approx(norm, rel=1e-6)


@pytest.mark.slow
def test_sharded_in_sixteen_bits_adapters_keep_thirty_two(ray_cluster: None) -> None:
    layout = Layout(2, "fsdp", dtype="bfloat16")
    config, group = build(layout, EMBEDDED)
    _, alone = build(layout._replace(learners=0, sharding="none"), EMBEDDED)
    try:
        found, expected = (LearnerSide(each, config).log_probs(ASKED) for each in (group, alone))
        assert np.abs(np.concatenate(found) - np.concatenate(expected)).max() < 0.3
        frozen = ask_all(group, frozen_parts)
        norm = take(group, config, layout, 0)
        assert norm == pytest.approx(take(alone, config, layout._replace(learners=0), 0), rel=0.1)
        assert ask_all(group, frozen_parts) == frozen
        for dtypes in ask_all(group, dtypes_of):
            assert dtypes == {(True, "torch.float32"), (False, "torch.bfloat16")}
        sent = group.get_state(inference_only=True)[COMPONENT_LEARNER][COMPONENT_RL_MODULE][DEFAULT_MODULE_ID]
        assert {tensor.dtype for tensor in dict(sent.items()).values()} == {torch.bfloat16}
    finally:
        group.shutdown()


def dtypes_of(learner: Any) -> set[tuple[bool, str]]:
    return {(parameter.requires_grad, str(parameter.dtype)) for parameter in learner.parameters()}


def frozen_parts(learner: Any) -> list[float]:
    frozen = [parameter for parameter in learner.parameters() if not parameter.requires_grad]
    return [float(parameter.to_local().double().abs().sum()) for parameter in frozen]
