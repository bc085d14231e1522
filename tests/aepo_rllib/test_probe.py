"""The probe after a weight update: pure parts, and real runs whose engine keeps old weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aepo_rllib import AEPOConfig, GRPOConfig, metrics
from aepo_rllib.experience.rows import Row
from aepo_rllib.learning.optimizer_step import token_mean
from aepo_rllib.learning.probe import Gap, ProbeError, Tolerance, check_probe, choose_probe, measure_gap
from tests.support.small_runs import small


def row(prompt, completion):
    return Row(prompt, np.array(completion), np.zeros(len(completion)), 1.0)


def test_probe_takes_one_completion_of_each_of_the_first_prompts():
    rows = [row([1, 2], [7]), row([1, 2], [8, 9]), row([3], [5, 6]), row([4], [4])]
    assert choose_probe(rows, 2) == [([1, 2], [7]), ([3], [5])]  # without the last of several tokens
    assert len(choose_probe(rows, 10)) == 3


def test_gap_is_over_tokens_not_over_completions():
    gap = measure_gap([np.array([0.0, -1.0]), np.array([-2.0])], [np.array([0.0, -1.5]), np.array([-2.1])])
    assert gap == Gap(pytest.approx(0.2), pytest.approx(0.5))


def test_a_learner_without_rows_does_not_dilute_a_gap():
    assert token_mean(np.array([0.4, 0.0, 0.1]), np.array([10, 0, 30])) == pytest.approx(7 / 40)
    assert token_mean(np.zeros(2), np.zeros(2)) == 0


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("gap", [Gap(0.0, 0.02), Gap(0.2, 0.001), Gap(0.0, NAN), Gap(NAN, 0.0), Gap(INF, INF)], ids=str)
def test_an_engine_that_is_off_is_named_with_the_update(gap):
    good, allowed = Gap(0.0, 0.001), Tolerance(ratio=0.01, mean=0.1)
    check_probe({1: good, 3: good}, allowed=allowed, step=7)
    with pytest.raises(ProbeError, match=r"training step 7 the engine of env runner 3 is off"):
        check_probe({1: good, 3: gap}, allowed=allowed, step=7)


def test_single_tokens_may_differ_where_they_round():
    """In 16 bits a bound on every token would stop a run, and before a cap of 2 could ever act."""
    outlier, stale = Gap(mean=0.01, largest=1.5), Gap(mean=0.3, largest=0.5)
    for config, admitted in (
        (GRPOConfig(), False),
        (GRPOConfig().language_model(dtype="bfloat16"), True),
        (GRPOConfig().language_model(dtype="bfloat16").training(ratio_tolerance=0.5), False),
        (GRPOConfig().training(ratio_tolerance=5), True),
    ):
        assert config.tolerance().admits(outlier) == admitted
        assert not config.tolerance().admits(stale)


def test_a_run_asks_its_probe_after_every_update(ray_cluster):
    config = small(AEPOConfig()).sampling(probe_rows=3).training(lr=0.01)
    algo = config.evaluation(evaluation_interval=None).build_algo()
    try:
        for _ in range(2):
            result = algo.train()[metrics.UPDATE]
            assert result[metrics.PROBE_LARGEST_GAP] < 1e-4
            assert result[metrics.MISMATCH_GAP] <= result[metrics.FIRST_RATIO_MAX_DEVIATION] < 1e-3
            assert 0 <= result[metrics.MISMATCH_KL] < 1e-6
        assert len(algo.probe) == 3
    finally:
        algo.stop()


@pytest.mark.parametrize("kept", ["lm_head.weight", "model.layers.0.self_attn.q_proj.weight"])
def test_an_engine_that_keeps_one_old_weight_stops_the_run(ray_cluster, kept):
    """As a tied output head that an update forgets: samples look fine, and training is off-policy."""
    algo = small(GRPOConfig()).sampling(probe_rows=2).training(lr=0.05).build_algo()
    try:
        algo.train()
        engine = algo.env_runner.engine
        old = {name: torch.as_tensor(tensor).clone() for name, tensor in engine.model.state_dict().items()}
        if kept == "lm_head.weight":  # no longer tied, or the embeddings would bring it along
            engine.model.lm_head.weight = torch.nn.Parameter(old[kept].clone())
        update = engine.update_weights
        engine.update_weights = lambda weights, version: update(
            dict(weights.items()) | {kept: old[kept]}, version=version
        )
        with pytest.raises(ProbeError, match="training step 2"):
            algo.train()
    finally:
        algo.stop()


def test_the_default_asks_only_engines_with_a_model_of_their_own():
    assert GRPOConfig().probe_count() == 0
    assert GRPOConfig().sampling(engine="vllm").probe_count() == 4
    assert GRPOConfig().sampling(engine="vllm", probe_rows=0).probe_count() == 0


def test_entropy_is_read_from_what_the_engine_gives():
    assert AEPOConfig().measured_entropy() == metrics.EXACT_ENTROPY
    assert AEPOConfig().sampling(engine="vllm").measured_entropy() == metrics.SAMPLED_SURPRISAL
    assert AEPOConfig().entropy_control(entropy_source="sampled_surprisal").measured_entropy() == "sampled_surprisal"
    with pytest.raises(ValueError, match="needs logits"):
        AEPOConfig().sampling(engine="vllm").entropy_control(entropy_source="exact_entropy").validate()
