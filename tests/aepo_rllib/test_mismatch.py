"""Engines whose log-probs are not quite the learner's: truncated importance sampling, and engines that sleep."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_runs import small, weights

from aepo_rllib import AEPOAuthorsConfig, AEPOConfig, GRPOConfig, metrics
from aepo_rllib.learning import log_probs
from aepo_rllib.objectives import clipped_surrogate, reinforce, truncated_importance
from aepo_rllib.rollout import make_engine

F64 = torch.float64
logps = st.floats(-20, 0)


@given(logps, logps, st.floats(1, 10))
def test_importance_is_the_ratio_up_to_its_cap(old, sampled, cap):
    importance = truncated_importance(torch.tensor(old, dtype=F64), torch.tensor(sampled, dtype=F64), cap).item()
    assert 0 < importance <= cap
    assert importance == pytest.approx(min(np.exp(old - sampled), cap))


def test_importance_carries_no_gradient():
    assert not truncated_importance(torch.zeros(3, requires_grad=True), torch.ones(3), 2.0).requires_grad


@pytest.mark.parametrize("cap", [1e9, 1.5])
def test_the_expected_gradient_is_the_policys_up_to_the_cap(cap):
    """Over all tokens of a small vocabulary: E_mu[ min(pi/mu, cap) grad ] = sum_v min(pi, cap mu) grad_v."""
    generator = torch.Generator().manual_seed(5)
    logits_V = torch.randn(7, generator=generator, dtype=F64, requires_grad=True)
    engine_logp_V = (logits_V.detach() + 0.7 * torch.randn(7, generator=generator, dtype=F64)).log_softmax(-1)
    reward_V = torch.randn(7, generator=generator, dtype=F64)
    logp_V = logits_V.log_softmax(-1)
    old_logp_V = logp_V.detach()

    def gradient(law_V: torch.Tensor, loss_V: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad((law_V * loss_V).sum(), logits_V, retain_graph=True)[0]

    loss_V = clipped_surrogate(logp_V[:, None], old_logp_V[:, None], reward_V)[:, 0]
    importance_V = truncated_importance(old_logp_V, engine_logp_V, cap)
    corrected = gradient(engine_logp_V.exp(), importance_V * loss_V)
    kept_V = torch.minimum(old_logp_V.exp(), cap * engine_logp_V.exp())
    expected = gradient(kept_V, reinforce(logp_V[:, None], old_logp_V[:, None], reward_V)[:, 0])
    torch.testing.assert_close(corrected, expected)
    policy_gradient = gradient(old_logp_V.exp(), -reward_V * logp_V)
    assert torch.allclose(corrected, policy_gradient) == (cap == 1e9)


def watch_rows(algo):
    """The rows of every optimizer step, and the figures it gave."""
    take_step, seen = algo._take_step, []

    def watched(shares, *, first):
        figures = take_step(shares, first=first)
        loss = algo.metrics.peek(("learners", "default_policy", metrics.loss_of("main")))
        seen.append(([row for rows in shares for row in rows], loss))
        return figures

    algo._take_step = watched
    return seen


def test_a_run_in_16_bits_corrects_its_main_rows(ray_cluster):
    """The engine rounds its weights, the learner does not: a mismatch as between kernels. Cap 1, so that it bites."""
    config = small(AEPOConfig()).training(updates_per_batch=1, importance_cap=1.0, lr=1e-3)
    algo = config.language_model(dtype="bfloat16").evaluation(evaluation_interval=None).build_algo()
    seen = watch_rows(algo)
    try:
        update = algo.train()[metrics.UPDATE]
    finally:
        algo.stop()
    [(rows, loss)] = seen
    main = [row for row in rows if row.component == 0]
    assert main
    assert all(row.old_logp is None for row in rows if row.component == 1)
    old, sampled = (np.concatenate([getattr(row, name) for row in main]) for name in ("old_logp", "policy_logp"))
    assert update[metrics.CAPPED_SHARE] == pytest.approx((old > sampled).mean())
    assert 0.1 < update[metrics.CAPPED_SHARE] < 0.9
    assert 1e-4 < update[metrics.MISMATCH_GAP] < update[metrics.MISMATCH_LARGEST_GAP] < 0.5
    assert update[metrics.MISMATCH_LARGEST_GAP] >= np.abs(old - sampled).max() - 1e-6
    # The ratio is 1 in the only step, so that the loss is minus the weighted advantages, each cut where pi > mu.
    importance = [np.minimum(np.exp(row.old_logp - row.policy_logp), 1.0).sum() for row in main]
    by_hand = -sum(row.weight * row.advantage * total for row, total in zip(main, importance, strict=True))
    uncorrected = -sum(row.weight * row.advantage * len(row.completion_ids) for row in main)
    assert loss == pytest.approx(by_hand, abs=2e-5)
    assert abs(uncorrected - by_hand) > 1e-4


def test_replaced_rows_are_tempered_and_stay_uncorrected(ray_cluster):
    config = AEPOAuthorsConfig().debugging(seed=3).tempered_term(replace_rows=4)
    config = config.training(batch_size=8, group_size=4, importance_cap=2.0).sampling(max_new_tokens=64)
    algo = config.evaluation(evaluation_interval=None).build_algo()
    seen = watch_rows(algo)
    try:
        algo.train()
    finally:
        algo.stop()
    rows = [row for step, _ in seen for row in step]
    assert len(rows) == 32
    assert [row.advantage for row in rows if row.old_logp is None] == [1.0] * 4


def test_a_run_without_mismatch_is_not_changed_by_a_cap(ray_cluster):
    """In float32 both compute the same: the importance is 1 up to rounding, and the ratio too."""
    after = []
    for cap in (None, 2.0):
        config = small(GRPOConfig()).training(importance_cap=cap).evaluation(evaluation_interval=None)
        algo = config.build_algo()
        try:
            result = algo.train()
            after.append(weights(algo))
        finally:
            algo.stop()
    assert result[metrics.UPDATE][metrics.CAPPED_SHARE] == 0
    for name, tensor in after[0].items():
        np.testing.assert_allclose(after[1][name], tensor, atol=2e-4)


def test_several_learners_score_as_one(ray_cluster):
    """Any number of sequences, more and fewer than learners and than rows of a pass, in their order."""
    generator = np.random.default_rng(2)
    sequences = [
        (generator.integers(5, 30, size=3 + place).tolist(), generator.integers(5, 30, size=7 - place).tolist())
        for place in range(5)
    ]
    config = small(GRPOConfig(), num_learners=2).training(rows_per_backward=2, importance_cap=2.0)
    algo = config.evaluation(evaluation_interval=None).build_algo()
    rows = watch_rows(algo)
    engine = make_engine("transformers", "embedded")
    try:
        for part in (sequences, sequences[:1]):
            for scored, expected in zip(log_probs(algo.learner_group, part), engine.log_probs(part), strict=True):
                np.testing.assert_allclose(scored, expected, atol=1e-5)
        algo.train()
    finally:
        algo.stop()
    trained = [row for step, _ in rows for row in step]
    expected = engine.log_probs([(list(row.prompt_ids), row.completion_ids.tolist()) for row in trained])
    assert trained
    for row, logp in zip(trained, expected, strict=True):  # of the weights that sampled, in the second step too
        np.testing.assert_allclose(row.old_logp, logp, atol=1e-4)


@pytest.mark.parametrize("runners", [0, 1])
def test_engines_sleep_while_the_learner_works(ray_cluster, runners):
    config = small(GRPOConfig(), num_env_runners=runners).training(importance_cap=2.0)
    config = config.sampling(sleep_while_learning=True).evaluation(evaluation_interval=1)
    algo = config.build_algo()
    asleep = []

    def watch(method):
        def watched(*args, **kwargs):
            asleep.extend(algo._each_sampler(lambda runner: runner.engine.asleep))
            return method(*args, **kwargs)

        return watched

    group = algo.learner_group
    group.update, group.foreach_learner = watch(group.update), watch(group.foreach_learner)
    try:
        for _ in range(2):
            result = algo.train()
            assert result[metrics.UPDATE][metrics.FIRST_RATIO_MAX_DEVIATION] < 1e-3
            assert 0 < result["evaluation"]["env_runners"][metrics.PASS_AT_1] < 1
        assert asleep == [True] * 6  # one scoring pass and two optimizer steps, twice
        assert algo._each_sampler(lambda runner: runner.engine.asleep) == [False]
    finally:
        algo.stop()
