"""Engines whose log-probs are not quite the learner's: ratios against the learner, truncated importance of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from aepo_rllib import AEPOAuthorsConfig, AEPOConfig, GRPOConfig, metrics
from aepo_rllib.algorithms.scope_rl import ScopeRLConfig
from aepo_rllib.experience.rows import Row
from aepo_rllib.learning.importance import capped_share, corrected
from tests.support.layouts import POLICY
from tests.support.small_runs import small, weights


def row(*policy_logp: float, **kwargs: Any) -> Row:
    return Row([1], np.arange(len(policy_logp)), np.array(policy_logp), 1.0, **kwargs)


def test_rows_of_the_policy_are_weighted_up_to_the_cap_and_tempered_ones_are_not() -> None:
    old_logp = np.array([-1.0, -1.0, -1.0])
    main, tempered = (corrected(row(-1.0, -1.2, -3.0, tempered=tempered), old_logp, 2.0) for tempered in (False, True))
    assert main.factors is not None
    np.testing.assert_allclose(main.factors, [1.0, np.exp(0.2), 2.0])
    assert tempered.factors is None
    assert main.old_logp is tempered.old_logp is old_logp


def test_the_capped_share_counts_tokens_of_weighted_rows() -> None:
    cut = corrected(row(-3.0, -1.0), np.array([-1.0, -1.0]), 2.0)
    kept = corrected(row(-1.0, -1.1), np.array([-1.0, -1.0]), 2.0)
    tempered = corrected(row(-9.0, -9.0, tempered=True), np.array([-1.0, -1.0]), 2.0)
    assert capped_share([cut, kept, tempered, row(-9.0)], 2.0) == 1 / 4
    assert capped_share([tempered], 2.0) == capped_share([], 2.0) == 0


# --- Real runs ----------------------------------------------------------------------------------------------------


def watch_rows(algo: Any) -> list[tuple[list[Row], float]]:
    """The rows of every optimizer step, and the main term's value."""
    steps, seen = algo.learners.steps, []

    def watched(dealt: Any, **kwargs: Any) -> Iterator[Any]:
        for shares, step in zip(dealt, steps(dealt, **kwargs), strict=True):
            [result] = step.results
            seen.append(([row for rows in shares for row in rows], result[POLICY][metrics.loss_of("main")].peek()))
            yield step

    algo.learners.steps = watched
    return seen


def shift_one_token(algo: Any) -> None:
    """An engine that gives the first token of odd completions 1 / e of the probability that the learner gives it."""
    generate = algo.env_runner.engine.generate

    def shifted(*args: Any, **kwargs: Any) -> Any:
        groups = generate(*args, **kwargs)
        for completion in (completion for group in groups for completion in group):
            completion.policy_logp[0] -= len(completion) % 2
        return groups

    algo.env_runner.engine.generate = shifted


@pytest.mark.parametrize(("dtype", "cap"), [("bfloat16", 1.0), ("float32", 2.0)])
def test_main_rows_are_weighted_by_their_truncated_importance(ray_cluster: None, dtype: str, cap: float) -> None:
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
    by_hand = -sum(row.weights[0] * row.advantage * total for row, total in zip(rows, importance, strict=True))
    without = -sum(row.weights[0] * row.advantage * len(row.completion_ids) for row in rows)
    assert abs(by_hand - without) > 1e-4
    assert loss == pytest.approx(by_hand, abs=float(0.1 * abs(by_hand - without)))


@pytest.mark.parametrize(
    ("config", "has_ratio"),
    [
        (AEPOConfig(), False),
        (ScopeRLConfig(), True),
        (AEPOAuthorsConfig().sampling(max_new_tokens=64), True),
    ],
    ids=["reinforce", "clipped", "replaced rows"],
)
def test_tempered_rows_have_the_learners_ratio_and_importance_1(
    ray_cluster: None, config: AEPOConfig, has_ratio: bool
) -> None:
    own = {"replace_rows": 4, "updates_per_batch": 2} if isinstance(config, AEPOAuthorsConfig) else {}
    config = small(config, **own).training(importance_cap=2.0, ratio_tolerance=9, mismatch_tolerance=0.2)
    algo = config.evaluation(evaluation_interval=None).build_algo()
    shift_one_token(algo)
    seen = watch_rows(algo)
    try:
        algo.train()
    finally:
        algo.stop()
    rows = [row for step, _ in seen for row in step if row.has_advantage]
    tempered, main = [row for row in rows if row.tempered], [row for row in rows if not row.tempered]
    assert main
    assert all(row.factors[0] == pytest.approx(1 + len(row.completion_ids) % 2, rel=1e-4) for row in main)
    assert tempered
    assert all(row.factors is None for row in tempered)
    assert all((row.old_logp is not None) == has_ratio for row in tempered)


def test_a_run_without_mismatch_is_not_changed_by_a_cap(ray_cluster: None) -> None:
    """In float32 both compute the same: the importance is 1 up to rounding, and the ratio too."""
    after, losses = [], []
    for cap in (None, 2.0):
        config = small(GRPOConfig()).training(importance_cap=cap).evaluation(evaluation_interval=None)
        algo = config.build_algo()
        try:
            result = algo.train()
            losses.append(result["learners"][POLICY][metrics.loss_of("main")])
            after.append(weights(algo))
        finally:
            algo.stop()
    assert result[metrics.UPDATE][metrics.CAPPED_SHARE] == 0
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    for name, tensor in after[0].items():
        np.testing.assert_allclose(after[1][name], tensor, atol=2e-4)
