"""Training steps of methods that have one of their own, and the divergence that every method may be charged for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec

from aepo_rllib import GRPOConfig, metrics
from aepo_rllib.algorithms import ALGORITHMS
from aepo_rllib.algorithms.adaptive_entropy import AdaptiveEntropyConfig
from aepo_rllib.algorithms.clip_cov import ClipCovConfig
from aepo_rllib.algorithms.dapo import DAPOConfig
from aepo_rllib.algorithms.dcpo import DCPOConfig, composed
from aepo_rllib.algorithms.pass_at_k import PassAtKConfig
from aepo_rllib.algorithms.siren import ANCHORED, SIRENConfig
from aepo_rllib.columns import Columns
from aepo_rllib.experience.rows import Row
from aepo_rllib.learning.learner import CausalLMLearner
from aepo_rllib.objectives.advantages import Graded, group_normalised
from aepo_rllib.objectives.losses import reinforce
from aepo_rllib.objectives.parts import MAIN, Method, Stream, Term, Tokens
from aepo_rllib.objectives.trial import check_method
from tests.support.peer_losses import ours, weights
from tests.support.small_runs import small
from tests.support.small_runs import weights as learner_weights

F64 = torch.float64


@contextmanager
def running(config: Any, **settings: Any) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """A small run, and the rows that each of its steps learns from."""
    algo, learned = small(config, evaluation_interval=None, **settings).build_algo(), []
    learn_rows = algo.learn_rows

    def watched(streams: Mapping[str, Any], **options: Any) -> None:
        learned.append({**streams, **options})
        learn_rows(streams, **options)

    algo.learn_rows = watched
    yield algo, learned
    algo.stop()


# --- DAPO ---------------------------------------------------------------------------------------------------------


def test_dapo_asks_until_it_has_a_batch_of_groups_with_unequal_rewards(ray_cluster: None) -> None:
    with running(DAPOConfig(), overlong_punishment=0.0) as (algo, learned):
        seen: list[Any] = []
        algo.on_episodes = lambda purpose, groups: seen.append(groups) if purpose.name == MAIN else None
        result = algo.train()
        mixed = [[group for group in groups.rewards_PG if group.min() < group.max()] for groups in seen]
        assert int(result[metrics.THROUGHPUT][metrics.SAMPLING_ROUNDS]) == len(seen) > 1
        assert sum(map(len, mixed[:-1])) < len(learned[0][MAIN]) == 6
        expected = group_normalised(Graded(torch.stack([*chain(*mixed)][:6])))
        found = torch.tensor([[row.advantage for row in group] for group in learned[0][MAIN]])
        torch.testing.assert_close(found, expected)
        assert result[metrics.MAIN][metrics.FLAT_GROUP_SHARE] == 0


@pytest.mark.parametrize("settings", [{}, {"kl_coefficient": 0.1, "importance_cap": 2.0}], ids=["plain", "with all"])
def test_dapo_learns_nothing_where_no_round_gives_a_mixed_group(ray_cluster: None, settings: dict[str, Any]) -> None:
    with running(DAPOConfig(), max_new_tokens=1, sampling_rounds=2, **settings) as (algo, learned):
        before = {name: value.copy() for name, value in learner_weights(algo).items()}
        result = algo.train()
        assert result[metrics.THROUGHPUT][metrics.SAMPLING_ROUNDS] == 2
        assert learned[0][MAIN] == []
        for name, value in learner_weights(algo).items():
            np.testing.assert_array_equal(value, before[name])


# --- DCPO ---------------------------------------------------------------------------------------------------------


def test_dcpo_weighs_correct_completions_by_the_tempered_law(ray_cluster: None) -> None:
    """By its definition, from the log-probs of the policy that sampled."""
    with running(DCPOConfig(), target_entropy="1.5x") as (algo, learned):
        seen: list[Any] = []
        algo.on_episodes = lambda purpose, groups: seen.append(groups) if purpose.name == MAIN else None
        score, asked = algo.learners.score, []
        algo.learners.score = lambda *args, **options: asked.append(score(*args, **options)) or asked[-1]
        result = algo.train()
        [groups], figures = seen, iter(asked[0])
        control = {name: float(value) for name, value in result[metrics.CONTROL].items()}
        assert control[metrics.TEMPERATURE] == 1.2, "below its target"
        m = min(control[metrics.TARGET_ENTROPY] - control[metrics.ENTROPY], 0.1) / groups.rewards_PG.mean().item()
        share = m / (1 + m)
        assert control[metrics.POSITIVE_SHARE] == pytest.approx(share)
        assert 0.01 < share < 0.9
        advantages_PG = group_normalised(Graded(groups.rewards_PG))
        for rows, rewards, advantages in zip(learned[0][MAIN], groups.rewards_PG, advantages_PG, strict=True):
            for row, reward, advantage in zip(rows, rewards, advantages, strict=True):
                expected = (1 - share) * float(advantage) * np.ones(len(row.completion_ids))
                if reward:
                    by_learner = next(figures)
                    np.testing.assert_allclose(by_learner[Columns.POLICY_LOGP], row.policy_logp, atol=1e-3)
                    expected += share * np.exp(by_learner[Columns.HEATED_LOGP] - by_learner[Columns.POLICY_LOGP])
                np.testing.assert_allclose(row.advantage, expected, rtol=1e-5, atol=1e-6)


def test_dcpo_without_a_correct_completion_is_a_plain_step(ray_cluster: None) -> None:
    with running(DCPOConfig(), max_new_tokens=1) as (algo, learned):
        assert algo.train()[metrics.CONTROL][metrics.POSITIVE_SHARE] == 0
        assert not any(row.has_advantage for group in learned[0][MAIN] for row in group)


# --- SIREN --------------------------------------------------------------------------------------------------------


def test_sirens_term_has_the_gradient_of_the_squared_distance_from_the_anchor() -> None:
    config, anchor = SIRENConfig(), 0.7
    mask_BT = torch.arange(10) < torch.tensor([[10], [5], [1]])
    entropy_BT = torch.rand(3, 10, generator=torch.Generator().manual_seed(0), dtype=F64).requires_grad_()
    tops = [
        entropy_BT[row, :length].topk(count).values.mean() for row, length, count in ((0, 10, 2), (1, 5, 1), (2, 1, 1))
    ]
    level = torch.stack(tops).mean()
    (expected_BT,) = torch.autograd.grad(config.anchor_coefficient * (level - anchor) ** 2, entropy_BT)
    slope = 2 * config.anchor_coefficient * (level.item() - anchor)
    method = config.method()
    [term] = (replace(term, coefficient=slope) for name, term in method.terms.items() if name == ANCHORED)
    tokens = Tokens(entropy_BT.detach(), None, entropy_BT.detach(), mask_BT, core_entropy=entropy_BT)
    given = ours(config)._replace(method=replace(method, terms={ANCHORED: term}))
    assert term.select is not None
    factor_BT = term.select(tokens._replace(core_entropy=entropy_BT.detach()), torch.Generator())
    value = ((factor_BT * term.loss(tokens)).sum(1) * weights(tokens, given)[:, 0]).sum()
    torch.testing.assert_close(torch.autograd.grad(value, entropy_BT)[0], expected_BT, atol=1e-8, rtol=1e-5)


def test_siren_is_anchored_at_its_first_batch_and_keeps_the_anchor(ray_cluster: None) -> None:
    with running(SIRENConfig(), anchor_coefficient=0.5) as (algo, learned):
        first, second = (dict(algo.train()[metrics.CONTROL]) for _ in range(2))
        anchor = float(first[metrics.ENTROPY])
        assert float(first[metrics.COEFFICIENT]) == 0
        assert 0 < anchor == float(first[metrics.TARGET_ENTROPY]) == float(second[metrics.TARGET_ENTROPY])
        distance = float(second[metrics.ENTROPY]) - anchor
        assert learned[1]["coefficients"] == {ANCHORED: pytest.approx(distance)}
        assert algo.own_state()["anchor"] == anchor


def test_siren_is_not_anchored_by_a_batch_that_nobody_judged(ray_cluster: None) -> None:
    with running(SIRENConfig()) as (algo, learned):
        rows, algo.rows = algo.rows, lambda groups: {MAIN: [[] for _ in range(6)]}
        algo.train()
        assert (algo.anchor, learned[0]["coefficients"]) == (None, {ANCHORED: 0.0})
        algo.rows = rows
        assert 0 < float(algo.train()[metrics.CONTROL][metrics.ENTROPY]) == algo.anchor


# --- A coefficient that moves -------------------------------------------------------------------------------------


def test_the_adaptive_coefficient_acts_from_the_step_after_it_was_found(ray_cluster: None) -> None:
    config = AdaptiveEntropyConfig()
    with running(config, target_entropy=5.0, coefficient_step=0.25, coefficient_most=0.4) as (algo, learned):
        for _ in range(3):
            algo.train()
        assert [options["coefficients"]["entropy"] for options in learned] == [0, -0.25, -0.4]


# --- The divergence from the starting weights ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_method_has_the_divergence_as_an_option(name: str) -> None:
    config = ALGORITHMS[name]()
    assert "kl" not in config.method().terms
    assert "ref_logp" not in config.method().reads
    config.training(kl_coefficient=0.04)
    term = config.method().terms["kl"]
    assert (term.stream, term.coefficient) == (MAIN, 0.04)
    check_method(config.method)


@pytest.mark.parametrize("estimator", ["k3", "k1+", "k3_corrected"])
def test_the_divergence_is_none_at_first_and_grows(ray_cluster: None, estimator: str) -> None:
    with running(GRPOConfig(), kl_coefficient=2.0, kl_estimator=estimator, updates_per_batch=1) as (algo, _):
        first, second = (float(algo.train()["learners"]["default_policy"]["loss_kl"]) for _ in range(2))
    assert abs(first) < 1e-4
    assert abs(second) > 10 * abs(first)
    assert second > 0 or estimator == "k1+", "which may be below 0 on a few samples"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_starting_weights_are_held_in_the_dtype_of_the_passes(dtype: str) -> None:
    """No step is taken on them, which 16 bits would lose; and they say what the policy says before it has learned."""
    config = GRPOConfig().language_model(dtype=dtype).training(kl_coefficient=0.04)
    spec = MultiRLModuleSpec(rl_module_specs={DEFAULT_MODULE_ID: config.get_default_rl_module_spec()})
    learner = CausalLMLearner(config=config, module_spec=spec)
    learner.build()
    assert {weight.dtype for weight in learner.parameters()} == {torch.float32}
    assert {weight.dtype for weight in learner.reference.parameters()} == {getattr(torch, dtype)}
    sequences = [([5, 6, 7], [8, 9, 10, 11])] * 2
    [own, _], [first, _] = learner.score(sequences), learner.score(sequences, by_reference=True)
    gap = np.abs(own[Columns.POLICY_LOGP] - first[Columns.POLICY_LOGP]).max()
    assert gap < (0.1 if dtype == "bfloat16" else 1e-6)


class Own(GRPOConfig):
    """Written from scratch, and without the penalties."""

    def method(self) -> Method:
        return Method({MAIN: Stream(group_normalised)}, {MAIN: Term(reinforce)})


@pytest.mark.parametrize(
    ("config", "settings", "words"),
    [
        (Own(), {"kl_coefficient": 0.1}, "kl_coefficient=0.1 does nothing: the method() of Own has no term 'kl'"),
        (GRPOConfig(), {"kl_estimator": "k1"}, "kl_estimator='k1' does nothing with kl_coefficient=0.0"),
        (GRPOConfig(), {"kl_estimator": "k4"}, "kl_estimator='k4' must be one of k1, k2, k3, abs"),
        (PassAtKConfig(), {"subset_size": 8}, "subset_size=8 needs a group_size of at least 9, which is 8"),
        (ClipCovConfig(), {"covariance_low": 5.0}, "covariance_low=5.0 must be below covariance_high=5.0"),
        (DAPOConfig(), {"overlong_punishment": 0.0, "overlong_buffer": 0.5}, "set overlong_punishment as well"),
        (AdaptiveEntropyConfig(), {"engine": "vllm", "entropy_source": "exact_entropy"}, "needs logits, which engine="),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, GRPOConfig) else "",
)
def test_options_that_do_nothing_or_ask_for_what_is_not_there_are_refused(
    config: GRPOConfig, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        config.update_from_dict(settings).validate()


def test_a_row_is_left_as_it_is_where_nothing_is_weighed() -> None:
    row = Row([1], np.arange(3), np.zeros(3, np.float32), 0.5)
    assert composed(row, -np.inf, 0.0).tolist() == [0.5] * 3
    assert composed(row, np.log([2.0, 1.0, 0.5]), 0.25).tolist() == [0.875, 0.625, 0.5]
