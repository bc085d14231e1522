"""Engines whose log-probs are not quite the learner's: truncated importance sampling, and engines that sleep."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_runs import small, weights

from aepo_rllib import AEPOConfig, GRPOConfig, metrics
from aepo_rllib.learning.optimizer_step import log_probs, token_mean
from aepo_rllib.objectives.losses import clipped_surrogate, reinforce, truncated_importance
from aepo_rllib.rollout import make_engine

F64 = torch.float64
logps = st.floats(-20, 0)


@given(logps, logps, st.floats(1, 10))
def test_importance_is_the_ratio_up_to_its_cap(old, sampled, cap):
    importance = truncated_importance(torch.tensor(old, dtype=F64), torch.tensor(sampled, dtype=F64), cap).item()
    assert 0 < importance <= cap
    assert importance == pytest.approx(min(np.exp(old - sampled), cap))


def test_a_learner_without_rows_does_not_dilute_a_gap():
    assert token_mean(np.array([0.4, 0.0, 0.1]), np.array([10, 0, 30])) == pytest.approx(7 / 40)
    assert token_mean(np.zeros(2), np.zeros(2)) == 0


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


def shift_one_token(algo):
    """An engine that gives the first token of odd completions 1 / e of the probability that the learner gives it."""
    generate = algo.env_runner.engine.generate

    def shifted(*args, **kwargs):
        groups = generate(*args, **kwargs)
        for completion in (completion for group in groups for completion in group):
            completion.policy_logp[0] -= len(completion) % 2
        return groups

    algo.env_runner.engine.generate = shifted


@pytest.mark.parametrize(("dtype", "cap"), [("bfloat16", 1.0), ("float32", 2.0)])
def test_main_rows_are_weighted_by_their_truncated_importance(ray_cluster, dtype, cap):
    """In 16 bits the engine rounds its weights and the learner does not, a mismatch as between kernels: cap 1, so that
    it bites. In 32 bits the engine is off by a factor of e in places: there a cap of 2 does."""
    config = small(GRPOConfig()).training(updates_per_batch=1, importance_cap=cap, ratio_tolerance=9)
    config = config.training(mismatch_tolerance=0.2).language_model(dtype=dtype)
    algo = config.evaluation(evaluation_interval=None).build_algo()
    if dtype == "float32":
        shift_one_token(algo)
    seen = watch_rows(algo)
    try:
        update = algo.train()[metrics.UPDATE]
    finally:
        algo.stop()
    [(rows, loss)] = seen
    old, sampled = (np.concatenate([getattr(row, name) for row in rows]) for name in ("old_logp", "policy_logp"))
    assert update[metrics.CAPPED_SHARE] == pytest.approx((old - sampled > np.log(cap)).mean())
    assert 0.005 < update[metrics.CAPPED_SHARE] < 0.9
    assert update[metrics.MISMATCH_GAP] == pytest.approx(np.abs(old - sampled).mean(), rel=0.05)
    assert update[metrics.MISMATCH_LARGEST_GAP] == pytest.approx(np.abs(old - sampled).max(), rel=0.05)
    # The ratio is 1 in the only step: the loss is minus the weighted advantages, each times its importance.
    importance = [np.minimum(np.exp(row.old_logp - row.policy_logp), cap).sum() for row in rows]
    by_hand = -sum(row.weight * row.advantage * total for row, total in zip(rows, importance, strict=True))
    without = -sum(row.weight * row.advantage * len(row.completion_ids) for row in rows)
    assert abs(by_hand - without) > 1e-4
    assert loss == pytest.approx(by_hand, abs=float(0.1 * abs(by_hand - without)))


@pytest.mark.parametrize(
    ("config", "has_ratio"),
    [
        (AEPOConfig(), False),
        (AEPOConfig().tempered_term(tempered_surrogate="clipped"), True),
        (AEPOConfig().tempered_term(composition="replace", replace_rows=4), True),
    ],
    ids=["reinforce", "clipped", "replace"],
)
def test_tempered_rows_have_the_learners_ratio_and_importance_1(ray_cluster, config, has_ratio):
    config = small(config).training(importance_cap=2.0, ratio_tolerance=9, mismatch_tolerance=0.2)
    algo = config.evaluation(evaluation_interval=None).build_algo()
    shift_one_token(algo)
    seen = watch_rows(algo)
    try:
        algo.train()
    finally:
        algo.stop()
    rows = [row for step, _ in seen for row in step]
    tempered, main = [row for row in rows if row.tempered], [row for row in rows if not row.tempered]
    assert main
    assert all(row.importance[0] == pytest.approx(1 + len(row.completion_ids) % 2, rel=1e-4) for row in main)
    assert tempered
    assert all(row.importance is None for row in tempered)
    assert all((row.old_logp is not None) == has_ratio for row in tempered)


def test_a_run_without_mismatch_is_not_changed_by_a_cap(ray_cluster):
    """In float32 both compute the same: the importance is 1 up to rounding, and the ratio too."""
    after, losses = [], []
    for cap in (None, 2.0):
        config = small(GRPOConfig()).training(importance_cap=cap).evaluation(evaluation_interval=None)
        algo = config.build_algo()
        try:
            result = algo.train()
            losses.append(result["learners"]["default_policy"][metrics.loss_of("main")])
            after.append(weights(algo))
        finally:
            algo.stop()
    assert result[metrics.UPDATE][metrics.CAPPED_SHARE] == 0
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
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
    """Evaluation's too. Whoever needs one wakes it, after an error as well."""
    config = small(GRPOConfig(), num_env_runners=runners).training(importance_cap=2.0)
    algo = config.sampling(sleep_while_learning=True).evaluation(evaluation_interval=1).build_algo()
    asleep, broken = [], False

    def states():
        groups = (algo.env_runner_group, algo.eval_env_runner_group)
        seen = [group.foreach_env_runner(lambda runner: runner._engine and runner._engine.asleep) for group in groups]
        return [state for group in seen for state in group if state is not None]

    def watch(method):
        def watched(*args, **kwargs):
            asleep.append(states())
            if broken:
                raise RuntimeError("out of memory")
            return method(*args, **kwargs)

        return watched

    group = algo.learner_group
    group.update, group.foreach_learner = watch(group.update), watch(group.foreach_learner)
    try:
        for _ in range(2):
            result = algo.train()
            assert result[metrics.UPDATE][metrics.FIRST_RATIO_MAX_DEVIATION] < 1e-3
            assert 0 < result["evaluation"]["env_runners"][metrics.PASS_AT_1] < 1
        # A scoring pass, two optimizer steps, and memory given back; evaluation has an engine from its first time on.
        assert asleep == [[True]] * 4 + [[True, True]] * 4
        assert states() == [False, False]
        assert all(parameter.grad is None for parameter in group._learner._params.values())
        broken = True
        with pytest.raises(RuntimeError, match="out of memory"):
            algo.train()
        broken = False
        assert states() == [True, True]
        assert algo.train()[metrics.UPDATE][metrics.FIRST_RATIO_MAX_DEVIATION] < 1e-3
    finally:
        algo.stop()
