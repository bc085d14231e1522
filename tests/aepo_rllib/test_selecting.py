"""Selections look at a whole optimizer step, however its rows are spread over learners and passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec

from aepo_rllib import AEPOConfig
from aepo_rllib.algorithms.aepo import TEMPERED
from aepo_rllib.columns import Columns
from aepo_rllib.experience.dealing import Mean, deal
from aepo_rllib.experience.rows import Row, RowGroups
from aepo_rllib.learning.learner import CausalLMLearner
from aepo_rllib.learning.learner_side import LearnerSide
from aepo_rllib.learning.selecting import selected
from aepo_rllib.objectives.losses import entropy
from aepo_rllib.objectives.parts import MAIN, Method, Selection, Term, Tokens, reads
from aepo_rllib.objectives.selections import most_uncertain
from tests.support.modules import ABSOLUTE_POSITIONS

VOCABULARY, GROUP_SIZE = 32, 4
Factors = dict[str, np.ndarray]


def drawn(t: Tokens, generator: torch.Generator) -> torch.Tensor:
    """A half of the tokens by lot, as random as a selection can be."""
    return torch.rand(t.mask.shape, generator=generator).round() * t.mask


def method_of(**selections: Selection) -> Method:
    """AEPO with an entropy bonus, terms of which select."""
    both = AEPOConfig().method()
    terms = {MAIN: both.terms[MAIN], "bonus": Term(entropy, coefficient=-0.2), TEMPERED: both.terms[TEMPERED]}
    chosen = {name: replace(term, select=selections.get(name)) for name, term in terms.items()}
    return replace(both, terms=chosen)


def streams(main: int = 5, tempered: int = 3) -> dict[str, RowGroups]:
    """Groups of random completions, each row with a name of its own."""
    generator = np.random.default_rng(0)

    def row(prompt: list[int], stream: int, name: str) -> Row:
        length = int(generator.integers(1, 9))
        ids, logp = generator.integers(VOCABULARY, size=length), generator.normal(-2.0, 0.3, size=length)
        return Row(prompt, ids, logp, float(generator.random() < 0.6), stream, problem_id=name)

    def group(stream: int, place: int) -> list[Row]:
        prompt = generator.integers(VOCABULARY, size=int(generator.integers(2, 6))).tolist()
        return [row(prompt, stream, f"{stream}/{place}/{n}") for n in range(GROUP_SIZE)]

    counts = {MAIN: main, TEMPERED: tempered}
    return {
        name: [group(stream, place) for place in range(counts[name])]
        for stream, name in enumerate(AEPOConfig().method().streams)
    }


def learner_group(config: AEPOConfig) -> Any:
    spec = MultiRLModuleSpec(rl_module_specs={DEFAULT_MODULE_ID: config.get_default_rl_module_spec()})
    return config.build_learner_group(rl_module_spec=spec)


@pytest.fixture(scope="module")
def side(tiny_models: dict[str, str]) -> LearnerSide:
    """A learner of this process, with a random model in float64."""
    config = AEPOConfig().language_model(model_path=tiny_models[ABSOLUTE_POSITIONS], dtype="float64")
    return LearnerSide(learner_group(config), config)


def factors_of(shares: list[list[Row]]) -> Factors:
    """Of every row, by name."""
    return {row.problem_id: row.factors for rows in shares for row in rows if row.factors is not None}


def select(
    side: LearnerSide, method: Method, given: Mapping[str, RowGroups], *, learners: int = 1, passes: int | None = None
) -> Factors:
    """The factors of one optimizer step's rows, with the learner's passes cut as told."""

    def divide(learner: Any) -> None:
        learner.config = learner.config.copy(copy_frozen=False)
        learner.config.rows_per_backward = passes

    side.group.foreach_learner(divide)
    [shares] = deal(given, method, Mean("token-mean", 16), updates=1, learners=learners)
    return factors_of(selected(shares, method, side, torch.Generator().manual_seed(7)))


def assert_same(found: Factors, expected: Factors) -> None:
    assert found.keys() == expected.keys()
    for name, factor_KT in expected.items():
        np.testing.assert_allclose(found[name], factor_KT, atol=1e-6, err_msg=name)


def test_without_a_selection_the_learners_are_not_asked(side: LearnerSide) -> None:
    [shares] = deal(streams(), method_of(), Mean("token-mean", 16), updates=1, learners=2)
    assert selected(shares, method_of(), None, torch.Generator()) is shares  # type: ignore[arg-type]


def test_the_most_uncertain_tokens_are_those_of_the_whole_step(side: LearnerSide) -> None:
    """By hand, from the model's entropies; the other terms see all of their tokens."""
    found = select(side, method_of(main=partial(most_uncertain, share=0.3)), streams())
    rows = [row for group in streams()[MAIN] for row in group]
    figures = side.score([(list(row.prompt_ids), row.completion_ids.tolist()) for row in rows], [Columns.ENTROPY])
    entropies = [figure[Columns.ENTROPY] for figure in figures]
    edge = np.quantile(np.concatenate(entropies), 0.7)
    assert 0.28 < np.mean(np.concatenate(entropies) >= edge) < 0.35
    for row, entropy_T in zip(rows, entropies, strict=True):
        main_T, *others = found[row.problem_id]
        assert main_T.tolist() == (entropy_T >= edge).tolist()
        assert all((other_T == 1).all() for other_T in others)
    tempered = [name for name in found if name.startswith("1/")]
    assert tempered
    assert all((found[name] == 1).all() for name in tempered)


SELECTIONS = {"by entropy": partial(most_uncertain, share=0.3), "by lot": drawn}


@pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS)
@pytest.mark.parametrize("learners", [1, 2, 3])
@pytest.mark.parametrize("passes", [None, 3, 1])
def test_any_split_gives_the_same_factors(
    side: LearnerSide, selection: Selection, learners: int, passes: int | None
) -> None:
    method = method_of(main=selection, tempered=selection)
    expected = select(side, method, streams())
    assert len({value for factor_KT in expected.values() for value in factor_KT.flatten().tolist()}) > 1
    assert_same(select(side, method, streams(), learners=learners, passes=passes), expected)


def test_importance_and_selections_multiply(side: LearnerSide) -> None:
    """Importance is a factor of a row's tokens in all terms, a selection one in its own."""
    method, weighted = method_of(main=drawn), streams()
    for group in weighted[MAIN]:
        group[:] = [replace(row, factors=np.linspace(0.5, 2.0, len(row.completion_ids))) for row in group]
    chosen, both = select(side, method, streams()), select(side, method, weighted)
    for row in (row for groups in weighted.values() for group in groups for row in group):
        if row.problem_id in chosen:
            importance_T = 1.0 if row.factors is None else row.factors
            np.testing.assert_allclose(both[row.problem_id], chosen[row.problem_id] * importance_T, rtol=1e-6)


def test_a_selection_reads_what_it_asks_for_and_has_no_gradient(side: LearnerSide) -> None:
    seen: list[Tokens] = []

    def looking(t: Tokens, generator: torch.Generator) -> torch.Tensor:
        seen.append(t)
        return t.mask.double()

    select(side, method_of(main=looking), streams())
    select(side, method_of(main=reads("entropy")(looking)), streams())
    without, with_entropy = seen
    assert without.entropy is without.ref_logp is without.heated_logp is None
    assert with_entropy.entropy is not None
    for values_BT in (with_entropy.logp, with_entropy.old_logp, with_entropy.advantage, with_entropy.entropy):
        assert values_BT.shape == with_entropy.mask.shape
        assert not values_BT.requires_grad
    rows = {row.problem_id: row for group in streams()[MAIN] for row in group}
    assert len(with_entropy.mask) == len(rows)
    for logp_T, mask_T, row in zip(with_entropy.logp, with_entropy.mask, rows.values(), strict=True):
        [expected] = side.log_probs([(list(row.prompt_ids), row.completion_ids.tolist())])
        np.testing.assert_allclose(logp_T[mask_T], expected, atol=1e-5)


def test_a_selection_sees_no_row_of_another_stream_and_none_without_weight(side: LearnerSide) -> None:
    seen: list[Tokens] = []

    def looking(t: Tokens, generator: torch.Generator) -> torch.Tensor:
        seen.append(t)
        return t.mask.double()

    given = streams()
    select(side, method_of(tempered=looking), given)
    assert [len(t.mask) for t in seen] == [sum(len(group) for group in given[TEMPERED])]
    off = method_of(tempered=looking)
    select(side, replace(off, terms=off.terms | {TEMPERED: replace(off.terms[TEMPERED], coefficient=0.0)}), given)
    select(side, off, {MAIN: given[MAIN]})
    assert len(seen) == 1


class DrawingConfig(AEPOConfig):
    def method(self) -> Method:
        return method_of(main=drawn)


class WatchingLearner(CausalLMLearner):
    """Keeps the factors of every optimizer step."""

    def optimizer_step(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        self.factors = [*getattr(self, "factors", []), batch[Columns.FACTOR].tolist()]
        return super().optimizer_step(batch)


def test_lots_are_keyed_by_seed_training_step_and_update(tiny_models: dict[str, str]) -> None:
    """A resumed run draws them again; another seed, training step, optimizer step or epoch draws others."""
    config = DrawingConfig().language_model(model_path=tiny_models[ABSOLUTE_POSITIONS])
    config.learners(learner_class=WatchingLearner)
    group = learner_group(config)
    taken = []
    for seed, step in ((3, 1), (3, 2), (4, 1), (3, 1)):
        own = LearnerSide(group, config.copy(copy_frozen=False).debugging(seed=seed).training(num_epochs=2))
        group.foreach_learner(lambda learner: setattr(learner, "factors", []))
        # Two equal optimizer steps an epoch: what differs between them is drawn.
        dealt = own.deal(streams(), {})[:1] * 2
        assert len(list(own.steps(dealt, env_steps=0, step=step))) == 4
        [factors] = [answer.get() for answer in group.foreach_learner(lambda learner: learner.factors)]
        taken.append(factors)
    *different, again = taken
    assert again == different[0]
    every = [str(factors) for run in different for factors in run]
    assert len(every) == len(set(every)) == 12
