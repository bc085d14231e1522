"""One batch, one gradient: however it is dealt to learners, cut into passes, padded or ordered.

Of a method that has what is hard: two streams, three terms over the rows of one, a mean of its own for one of them, for
another a choice among the tokens of the whole step, and for the third a policy that is tempered row by row.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import ray
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec

from aepo_rllib import AEPOConfig
from aepo_rllib.algorithms.aepo import TEMPERED
from aepo_rllib.experience.dealing import Mean, deal
from aepo_rllib.experience.passes import PassLimit, passes_of
from aepo_rllib.experience.rows import Row, RowGroups
from aepo_rllib.learning.learner import CausalLMLearner
from aepo_rllib.learning.learner_side import LearnerSide
from aepo_rllib.learning.optimizer_step import train_batch
from aepo_rllib.learning.selecting import selected
from aepo_rllib.objectives.losses import entropy, tempered_clipped
from aepo_rllib.objectives.parts import MAIN, Method, Term
from aepo_rllib.objectives.selections import most_uncertain
from tests.support.modules import ABSOLUTE_POSITIONS

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # actors cannot import a test file

TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
"""Largest norm of the difference, as a share of the gradient's."""
VOCABULARY, GROUP_SIZE = 32, 4


class RecordingLearner(CausalLMLearner):
    """Keeps the gradient of an update instead of taking the step."""

    def apply_gradients(self, gradients_dict: dict[str, torch.Tensor]) -> None:
        self.gradient = torch.cat([gradient.flatten() for gradient in gradients_dict.values()]).numpy().copy()


class HardConfig(AEPOConfig):
    """AEPO on uncertain tokens; over all of its main rows, flat ones too, an entropy bonus; and E3's loss."""

    def method(self) -> Method:
        both = super().method()
        main = replace(both.terms[MAIN], select=partial(most_uncertain, share=0.6))
        bonus = Term(entropy, coefficient=-0.2, aggregation="seq-mean-token-mean")
        e3 = Term(partial(tempered_clipped, low=0.2, high=0.2), coefficient=0.5)
        return replace(both, terms={MAIN: main, "bonus": bonus, "e3": e3, TEMPERED: both.terms[TEMPERED]})


METHOD = HardConfig().method()
Streams = Mapping[str, RowGroups]


def streams(*, main: int, tempered: int, flat: bool = False, seed: int = 0) -> Streams:
    """Groups of random completions, a third of the rows without gradient."""
    generator = np.random.default_rng(seed)

    def row(prompt: list[int], stream: int) -> Row:
        length = int(generator.integers(1, 12))
        if stream:
            advantage = float(generator.random() < 0.5)
        else:
            advantage = float(generator.normal()) * (generator.random() < 0.7)
        logp = generator.normal(-2.0, 0.3, size=length).astype(np.float32)
        ids, heat = generator.integers(VOCABULARY, size=length), float(generator.choice([0.7, 1.0, 1.3]))
        heated = generator.normal(-2.0, 0.3, size=length).astype(np.float32)
        return Row(prompt, ids, logp, 0.0 if flat else advantage, stream, temperature=heat, heated_logp=heated)

    def group(stream: int) -> list[Row]:
        prompt = generator.integers(VOCABULARY, size=int(generator.integers(2, 9))).tolist()
        return [row(prompt, stream) for _ in range(GROUP_SIZE)]

    return {
        name: [group(stream) for _ in range(count)]
        for stream, (name, count) in enumerate(((MAIN, main), (TEMPERED, tempered)))
    }


def shuffled(given: Streams) -> Streams:
    """The same groups in reverse order, rows reversed within them."""
    return {name: [group[::-1] for group in groups[::-1]] for name, groups in given.items()}


def config_of(model: str, dtype: str, *, learners: int = 0, share_prompts: bool = True) -> AEPOConfig:
    config = HardConfig().language_model(model_path=model, dtype=dtype, share_prompts=share_prompts)
    config.training(grad_clip=None)
    config.learners(num_learners=learners, learner_class=RecordingLearner, num_cpus_per_learner=1)
    return config.evaluation(evaluation_interval=None)


def build(config: AEPOConfig) -> Any:
    spec = MultiRLModuleSpec(rl_module_specs={DEFAULT_MODULE_ID: config.get_default_rl_module_spec()})
    return config.build_learner_group(rl_module_spec=spec)


WHOLE = PassLimit()


def gradient(
    group: Any, given: Streams, *, learners: int, limit: PassLimit = WHOLE, **options: Any
) -> list[np.ndarray]:
    """Every learner's gradient after one update."""
    [shares] = deal(given, METHOD, Mean("token-mean", 16), updates=1, learners=max(learners, 1), **options)
    chosen = selected(shares, METHOD, LearnerSide(group, HardConfig()), torch.Generator())
    batches = [train_batch(parts) for parts in passes_of(chosen, limit)]
    group.update(training_data=TrainingData(batches=batches) if learners else TrainingData(batch=batches[0]))
    return [result.get() for result in group.foreach_learner(lambda learner: learner.gradient)]


@pytest.fixture(scope="module")
def model(tiny_models: dict[str, str]) -> str:
    """GPT-2: Llama's norms and rotations compute in float32 whatever the dtype."""
    return tiny_models[ABSOLUTE_POSITIONS]


ALONE = pytest.param(("float32", 1), marks=pytest.mark.slow)
"""One remote learner, which does what the local one does."""


@pytest.fixture(scope="module", params=[("float32", 0), ALONE, ("float64", 0), ("float64", 2)], ids=str)
def layout(request: pytest.FixtureRequest) -> tuple[str, int]:
    """Precision and number of learners."""
    return request.param


@pytest.fixture(scope="module")
def dtype(layout: tuple[str, int]) -> str:
    return layout[0]


@pytest.fixture(scope="module")
def learners(layout: tuple[str, int]) -> int:
    return layout[1]


@pytest.fixture(scope="module")
def group(ray_cluster: None, model: str, dtype: str, learners: int) -> Iterator[Any]:
    built = build(config_of(model, dtype, learners=learners))
    yield built
    built.shutdown()


@pytest.fixture(scope="module")
def padded(ray_cluster: None, model: str, dtype: str) -> Any:
    """One process, one pass, prompts in every row: the plainest way to the gradient."""
    return build(config_of(model, dtype, share_prompts=False))


@pytest.mark.parametrize("sizes", [(6, 4), (7, 3), (1, 1), (5, 0)])
@pytest.mark.parametrize("passes", [1, 2, 3, "a row each"])
def test_every_split_gives_the_gradient_of_the_whole(
    group: Any, padded: Any, dtype: str, learners: int, sizes: tuple[int, int], passes: int | str
) -> None:
    """(5, 0) is a step without positives; with (1, 1) the second of two learners has no row."""
    given = streams(main=sizes[0], tempered=sizes[1])
    [expected] = gradient(padded, given, learners=0)
    assert np.abs(expected).max() > 1e-2
    rows = len(given[MAIN]) * GROUP_SIZE + sum(row.has_advantage for group_ in given[TEMPERED] for row in group_)
    size = 1 if isinstance(passes, str) else -(-rows // (passes * max(learners, 1)))
    for variant in (given, shuffled(given)):
        for seen in gradient(group, variant, learners=learners, limit=PassLimit(rows=size)):
            error = np.linalg.norm(seen - expected) / np.linalg.norm(expected)
            assert error <= TOLERANCE[dtype]


def test_without_any_advantage_the_bonus_is_left_and_without_it_nothing(
    group: Any, padded: Any, dtype: str, learners: int
) -> None:
    given = streams(main=3, tempered=2, flat=True)
    [expected] = gradient(padded, given, learners=0)
    assert np.abs(expected).max() > 1e-3
    for seen in gradient(group, given, learners=learners, limit=PassLimit(tokens=24)):
        assert np.linalg.norm(seen - expected) / np.linalg.norm(expected) <= TOLERANCE[dtype]
    for seen in gradient(group, given, learners=learners, limit=PassLimit(rows=2), coefficients={"bonus": 0.0}):
        assert not seen.any()
