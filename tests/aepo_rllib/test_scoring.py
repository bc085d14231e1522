"""Log-probs under other policies than the one that learns: right, and asked for only where some loss reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec

from aepo_rllib import AEPOConfig, GRPOConfig, metrics
from aepo_rllib.algorithms.aepo import TEMPERED
from aepo_rllib.columns import Columns
from aepo_rllib.experience.groups import Groups
from aepo_rllib.experience.rows import Row, RowGroups
from aepo_rllib.learning.learner_side import LearnerSide
from aepo_rllib.models.hf import load_model
from aepo_rllib.objectives.losses import clipped, kl_to_reference
from aepo_rllib.objectives.parts import Method, Term, Tokens, reads, zero_without_advantage
from tests.support.layouts import POLICY
from tests.support.small_runs import small

KL = Term(kl_to_reference, coefficient=0.1)


@zero_without_advantage
@reads("heated_logp")
def heated(t: Tokens) -> torch.Tensor:
    """A surrogate against the heated policy that sampled."""
    assert t.heated_logp is not None
    return clipped(t._replace(old_logp=t.heated_logp))


class KLConfig(GRPOConfig):
    """GRPO with a penalty on the distance from the starting weights."""

    def method(self) -> Method:
        return replace(super().method(), terms={**super().method().terms, "kl": KL})


class HeatedConfig(AEPOConfig):
    """AEPO whose tempered term compares with the heated policy."""

    def method(self) -> Method:
        both = super().method()
        return replace(both, terms=both.terms | {TEMPERED: Term(heated, stream=TEMPERED)})


class CountingSide(LearnerSide):
    """Counts what is asked of the learners: how many sequences, which columns, whose weights."""

    def score(self, sequences: Any, reads: Any = (), **options: Any) -> list[dict[str, np.ndarray]]:
        self.__dict__.setdefault("asked", []).append(
            (len(sequences), sorted(reads), options.get("by_reference", False))
        )
        return super().score(sequences, reads, **options)


def side_of(config: GRPOConfig) -> CountingSide:
    """A learner of this process with the embedded model."""
    spec = MultiRLModuleSpec(rl_module_specs={DEFAULT_MODULE_ID: config.get_default_rl_module_spec()})
    side = CountingSide(config.build_learner_group(rl_module_spec=spec), config)
    side.asked = []
    return side


def streams(*names: str) -> dict[str, RowGroups]:
    """Two groups of two rows in each stream; one row of each group has no advantage."""
    generator = np.random.default_rng(0)

    def row(stream: int, advantage: float) -> Row:
        length = int(generator.integers(2, 9))
        ids, logp = generator.integers(5, 30, size=length), -generator.random(length)
        return Row([5, 6, 7 + stream], ids, logp, advantage, stream, tempered=bool(stream))

    return {name: [[row(place, 1.0), row(place, 0.0)] for _ in range(2)] for place, name in enumerate(names)}


def flattened(scored: Mapping[str, RowGroups]) -> list[Row]:
    return [row for groups in scored.values() for group in groups for row in group]


def log_probs_by_hand(row: Row, temperature: float) -> np.ndarray:
    """From the embedded model's raw logits."""
    ids = torch.tensor([[*row.prompt_ids, *row.completion_ids.tolist()]])
    with torch.no_grad():
        logits = load_model("embedded")(ids).logits[0, len(row.prompt_ids) - 1 : -1].double()
    logp_TV = (logits / temperature).log_softmax(-1)
    return logp_TV.gather(-1, ids[0, len(row.prompt_ids) :, None]).squeeze(-1).numpy()


@pytest.mark.parametrize("config", [GRPOConfig(), AEPOConfig()], ids=["GRPO", "AEPO"])
def test_a_method_that_reads_none_asks_for_none(config: GRPOConfig) -> None:
    side, given = side_of(config), streams(*config.method().streams)
    assert side.scored(given) == given
    assert side.asked == []


def test_heated_log_probs_are_those_of_divided_logits_for_the_rows_that_need_them() -> None:
    side, given = side_of(HeatedConfig()), streams("main", TEMPERED)
    scored = side.scored(given, temperature=1.3)
    assert side.asked == [(2, [Columns.HEATED_LOGP], False)]
    assert scored["main"] == given["main"]
    rows = flattened({TEMPERED: scored[TEMPERED]})
    assert [row.heated_logp is not None for row in rows] == [row.has_advantage for row in rows]
    for row in rows:
        if row.heated_logp is not None:
            np.testing.assert_allclose(row.heated_logp, log_probs_by_hand(row, 1.3), atol=1e-4)
            assert np.abs(row.heated_logp - log_probs_by_hand(row, 1.0)).max() > 1e-2
    assert all(row.ref_logp is None and row.old_logp is None for row in rows)


def test_log_probs_of_the_reference_are_the_starting_weights_for_all_rows() -> None:
    """After the learner's weights have moved, too; nothing loads them before they are read."""
    side, given = side_of(KLConfig()), streams("main")

    def move(learner: Any) -> bool:
        with torch.no_grad():
            for parameter in learner.module[DEFAULT_MODULE_ID].parameters():
                parameter.mul_(1.05)
        return "_reference" in vars(learner)

    assert [answer.get() for answer in side.group.foreach_learner(move)] == [False]
    rows = flattened(side.scored(given))
    assert side.asked == [(4, [], True)]
    moved_by_row = side.log_probs([(list(row.prompt_ids), row.completion_ids.tolist()) for row in rows])
    for row, moved in zip(rows, moved_by_row, strict=True):
        assert row.ref_logp is not None
        np.testing.assert_allclose(row.ref_logp, log_probs_by_hand(row, 1.0), atol=1e-4)
        assert np.abs(row.ref_logp - moved).max() > 1e-2


def test_one_pass_scores_what_the_ratio_and_a_heated_loss_need() -> None:
    config = HeatedConfig().training(importance_cap=2.0)
    method = config.method()
    both = replace(method, terms=method.terms | {"plain": Term(clipped, stream=TEMPERED)})
    config.method = lambda: both  # type: ignore[method-assign]
    side = side_of(config)
    rows = flattened({TEMPERED: side.scored(streams("main", TEMPERED), temperature=1.3)[TEMPERED]})
    assert side.asked == [(2, [], False), (2, [Columns.HEATED_LOGP], False)]
    for row in (row for row in rows if row.has_advantage):
        assert row.old_logp is not None
        np.testing.assert_allclose(row.old_logp, log_probs_by_hand(row, 1.0), atol=1e-4)
        np.testing.assert_allclose(row.heated_logp, log_probs_by_hand(row, 1.3), atol=1e-4)


def test_the_distance_from_the_reference_is_0_at_the_first_step_and_grows(ray_cluster: None) -> None:
    algo = small(KLConfig(), updates_per_batch=1, lr=0.01).evaluation(evaluation_interval=None).build_algo()
    try:
        distances = [algo.train()["learners"][POLICY][metrics.loss_of("kl")] / KL.coefficient for _ in range(3)]
    finally:
        algo.stop()
    assert distances[0] == pytest.approx(0, abs=1e-7)
    assert distances[1] > 1e-4
    assert distances[2] > 1e-4


class HeatedAlgorithm(HeatedConfig.Algo):
    """Names the temperature that it sampled at."""

    def learn(self, groups: Mapping[str, Groups], **options: Any) -> None:
        self.sampled = groups[TEMPERED]
        super().learn(groups, temperature=self.dial_loop.last.setting)


def test_heated_log_probs_at_the_temperature_of_sampling_are_the_engines(ray_cluster: None) -> None:
    algo = HeatedAlgorithm(config=small(HeatedConfig()).evaluation(evaluation_interval=None))
    deal, dealt = algo.learners.deal, []
    algo.learners.deal = lambda *args: dealt.extend(deal(*args)) or list(dealt)
    try:
        result = algo.train()
    finally:
        algo.stop()
    assert result[metrics.CONTROL][metrics.TEMPERATURE] == 0.8
    names = Columns.PROMPT_IDS, Columns.COMPLETION_IDS, Columns.BEHAVIOR_LOGP
    drawn = {
        (tuple(prompt), tuple(completion)): behavior
        for episode in algo.sampled.episodes
        for prompt, completion, behavior in zip(*map(episode.get_extra_model_outputs, names), strict=True)
    }
    rows = [row for shares in dealt for rows in shares for row in rows if row.tempered]
    assert rows
    for row in rows:
        expected = drawn[tuple(row.prompt_ids), tuple(row.completion_ids)]
        np.testing.assert_allclose(row.heated_logp, expected, atol=1e-4)
        assert np.abs(row.heated_logp - row.policy_logp).max() > 1e-3
