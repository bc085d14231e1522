"""Rival controllers of entropy: their laws against numbers by hand, their terms against formulas, and their boxes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from aepo_rllib import metrics
from aepo_rllib.algorithms.e3 import E3Config
from aepo_rllib.algorithms.entrocraft import EntrocraftConfig, without
from aepo_rllib.algorithms.entropic import SURE, EntroPICConfig
from aepo_rllib.columns import Columns
from aepo_rllib.control.band import Band
from aepo_rllib.control.geometric import GeometricTemperature
from aepo_rllib.control.integral import ProportionalIntegral
from aepo_rllib.experience.groups import Groups
from aepo_rllib.experience.rows import Row, columns_of
from aepo_rllib.learning.batches import passes_in
from aepo_rllib.models.hf import vocabulary_size
from aepo_rllib.objectives.chunked_head import head_statistics
from aepo_rllib.objectives.entropy import exact_entropy, token_statistics
from aepo_rllib.objectives.losses import tempered_clipped
from aepo_rllib.objectives.parts import Tokens, term_values
from tests.support.modules import build_module
from tests.support.small_runs import small

GENERATOR = torch.Generator()

# --- Laws -----------------------------------------------------------------------------------------------------------


def test_the_integral_law_is_the_papers_with_its_sign_turned() -> None:
    """alpha by hand, K_p = 1, K_i = 0.01 and a target of 0.1: 0.4, then 0.2 + 0.004, then 0.006, then -0.1 + 0.006."""
    dial = ProportionalIntegral(1.0, 0.01)
    turned = [dial.turn(entropy, 0.1) for entropy in (0.5, 0.3, 0.1, 0.0)]
    assert turned == pytest.approx([-0.4, -0.204, -0.006, 0.1 - 0.006])


def test_the_integral_law_is_clipped_and_its_sum_is_not() -> None:
    dial = ProportionalIntegral(1.0, 0.01)
    assert {dial.turn(3.0, 1.0) for _ in range(100)} == {-1.0} == {dial.bounds[0]}
    assert dial.total == -200.0
    assert dial.turn(0.5, 1.0) == -1.0  # half a nat below its target it cools all the same
    again = ProportionalIntegral(1.0, 0.01)
    again.set_state(dial.get_state())
    assert again.turn(0.2, 1.0) == dial.turn(0.2, 1.0)


def test_the_band_has_its_edges_inside() -> None:
    dial = Band(0.25)
    assert [dial.turn(entropy, 1.0) for entropy in (0.87, 0.875, 1.0, 1.125, 1.13)] == [1.0, 0.0, 0.0, 0.0, -1.0]


def test_the_geometric_law_is_that_of_the_authors_scheduler() -> None:
    """By hand: ln 15 + ln ln 15 = 2.70805 + 0.99623, and ln 2 = 0.693147."""
    vocabulary = 15
    dial = GeometricTemperature(vocabulary)
    first, second = dial.turn(0.5, 1.0), dial.turn(2.0, 1.0)
    assert first == pytest.approx(1 + 0.693147 / 3.704279, rel=1e-5)
    assert second == pytest.approx(first * (1 - first * 0.693147 / 3.704279), rel=1e-5)
    assert dial.turn(1.0, 1.0) == second
    assert math.isfinite(dial.turn(0.0, 1.0))
    again = GeometricTemperature(vocabulary)
    again.set_state(dial.get_state())
    assert again.turn(0.7, 1.0) == dial.turn(0.7, 1.0)


# --- EntroPIC's term ------------------------------------------------------------------------------------------------


def sure_and_unsure() -> Tokens:
    """Four rows of three tokens, of which some are surer than 0.95 and some are padding."""
    p = torch.tensor([[0.99, 0.5, 0.97], [0.96, 0.94, 0.1], [0.98, 0.999, 0.2], [0.3, 0.2, 0.9]])
    mask = torch.tensor([[True] * 3, [True, True, False], [True] * 3, [True, False, False]])
    advantage = torch.tensor([[1.0], [-2.0], [0.5], [0.0]]).expand(4, 3)
    logp = torch.where(mask, p.log(), 0.0)
    return Tokens(logp, torch.where(mask, logp - 0.1, 0.0), torch.where(mask, advantage, 0.0), mask)


def test_the_sure_term_is_the_mean_of_ratio_times_advantage_over_sure_tokens() -> None:
    tokens = sure_and_unsure()
    term = EntroPICConfig().method().terms[SURE]
    factors = term.select(tokens, GENERATOR)
    weight = torch.full((4, 1), 0.3 / int(tokens.mask.sum()))
    value = term_values({SURE: term}, tokens, weight, factors.unsqueeze(1))[SURE]
    sizes = [1.0, 1.0, 2.0, 0.5, 0.5]  # |A| of the five tokens above 0.95; one that is padding is none
    assert float(value) == pytest.approx(0.3 * math.exp(0.1) * sum(sizes) / 5, rel=1e-5)


@pytest.mark.parametrize(("coefficient", "sign"), [(0.5, 1.0), (-0.5, -1.0)])
def test_the_sure_term_heats_above_zero_and_cools_below(coefficient: float, sign: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 6, 12, generator=generator) + 6 * torch.nn.functional.one_hot(torch.arange(12))[:6]
    logits.requires_grad_()
    logp_V = logits.log_softmax(-1)
    ids = torch.distributions.Categorical(logits=logits.detach()).sample()
    logp = logp_V.gather(-1, ids.unsqueeze(-1))[..., 0]
    mask = torch.ones(8, 6, dtype=torch.bool)
    tokens = Tokens(logp, logp.detach(), torch.randn(8, 1, generator=generator).expand(8, 6), mask)
    term = EntroPICConfig().method().terms[SURE]
    factors = term.select(tokens._replace(logp=logp.detach()), generator)
    assert 0 < int((factors > 0).sum()) < factors.numel()
    weight = torch.full((8, 1), coefficient / mask.sum())
    [gradient] = torch.autograd.grad(term_values({SURE: term}, tokens, weight, factors.unsqueeze(1))[SURE], logits)
    before, after = (exact_entropy(z.log_softmax(-1)).mean() for z in (logits.detach(), logits.detach() - gradient))
    assert float((after - before) * sign) > 0


# --- Entrocraft -----------------------------------------------------------------------------------------------------


def test_rejected_rows_stay_without_advantage() -> None:
    groups = [[Row([1], np.array([2]), np.zeros(1), advantage) for advantage in (1.0, -0.5, 0.0)]]
    for sign, kept in ((1.0, [0.0, -0.5, 0.0]), (-1.0, [1.0, 0.0, 0.0]), (0.0, [1.0, -0.5, 0.0])):
        assert [row.advantage for row in without(groups, sign)[0]] == kept


@pytest.mark.usefixtures("ray_cluster")
def test_entrocraft_learns_from_one_sign_outside_its_band(monkeypatch: pytest.MonkeyPatch) -> None:
    algo = small(EntrocraftConfig(), target_entropy=[[0, 5.0], [1, 0.01]], evaluation_interval=None).build_algo()
    learned: list[float] = []
    take = algo.learn_rows

    def watched(streams: Any, **options: Any) -> None:
        learned[:] = [row.advantage for group in streams["main"] for row in group]
        take(streams, **options)

    monkeypatch.setattr(algo, "learn_rows", watched)
    signs = []
    for _ in range(2):
        signs.append((float(algo.train()[metrics.CONTROL][metrics.REJECTED_SIGN]), min(learned), max(learned)))
    algo.stop()
    (low, least, most), (high, lowest, highest) = signs
    assert (low, most, high, lowest) == (1.0, 0.0, -1.0, 0.0)
    assert least < 0 < highest


# --- E3 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.3, torch.linspace(0.6, 1.7, 9, dtype=torch.float64)], ids=["one", "each"])
def test_tempered_log_probs_have_the_gradient_of_divided_logits(temperature: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, 4, dtype=torch.float64, generator=generator, requires_grad=True) for n in (9, 11))
    ids, factors = torch.randint(11, (9,), generator=generator), torch.randn(2, 9, generator=generator)
    wide = temperature.unsqueeze(-1) if isinstance(temperature, torch.Tensor) else temperature
    logits = hidden @ weight.T
    by_hand = (logits / wide).log_softmax(-1).gather(-1, ids[:, None])[:, 0]
    plain = logits.log_softmax(-1).gather(-1, ids[:, None])[:, 0]
    expected = torch.autograd.grad((factors[0] * by_hand + factors[1] * plain).sum(), (hidden, weight))
    reads = ("heated_logp", "entropy")
    for found in (
        head_statistics(hidden, weight, None, ids, reads, temperature=temperature, slice_logits=22),
        token_statistics(hidden @ weight.T, ids, reads, temperature=temperature),
    ):
        torch.testing.assert_close(found.heated_logp, by_hand)
        given = torch.autograd.grad((factors[0] * found.heated_logp + factors[1] * found.logp).sum(), (hidden, weight))
        torch.testing.assert_close(given, expected)


def test_every_row_has_its_temperature_however_rows_are_cut() -> None:
    module = build_module("embedded")
    generator = np.random.default_rng(0)
    rows = [
        Row([5, 6, 7], generator.integers(5, 30, size=n), np.zeros(n, np.float32), 1.0, temperature=heat)
        for n, heat in ((3, 1.3), (6, 0.7), (4, 1.0))
    ]

    def scored(chosen: list[Row], **options: Any) -> torch.Tensor:
        [part] = passes_in({name: torch.from_numpy(values) for name, values in columns_of(chosen).items()})
        return module.forward_train(part, reads=[Columns.HEATED_LOGP], **options)[Columns.HEATED_LOGP]

    together = scored(rows)
    for place, row in enumerate(rows):
        alone = scored([replace(row, temperature=1.0)], temperature=row.temperature)
        torch.testing.assert_close(together[place, : len(row.completion_ids)], alone[0], atol=1e-5, rtol=0)


def test_the_tempered_surrogate_is_that_of_a_policy_with_divided_logits() -> None:
    logits = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]], requires_grad=True)
    old, ids, advantage = torch.tensor([[1.9, 0.6, -1.0], [0.3, 1.0, 2.0]]), torch.tensor([0, 2]), torch.tensor([1, -2])
    tempered, heated = ((z / 1.4).log_softmax(-1).gather(-1, ids[:, None]) for z in (logits, old))
    tokens = Tokens(tempered.detach(), None, advantage[:, None].float(), torch.ones(2, 1, dtype=torch.bool))
    value = tempered_clipped(tokens._replace(tempered_logp=tempered, heated_logp=heated), low=0.2, high=0.2)
    ratio = (tempered - heated).exp()[:, 0]
    expected = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    torch.testing.assert_close(value[:, 0], expected)


@pytest.mark.usefixtures("ray_cluster")
def test_e3_samples_at_what_the_batch_before_asks_for_and_first_at_one(monkeypatch: pytest.MonkeyPatch) -> None:
    algo = small(E3Config(), target_entropy=2.0, evaluation_interval=None, lr=1e-9).build_algo()
    sampled: list[Groups] = []
    algo.on_episodes = lambda purpose, groups: sampled.append(groups) if purpose.name == "main" else None
    control = [algo.train()[metrics.CONTROL] for _ in range(2)]
    first, second = (float(figures[metrics.TEMPERATURE]) for figures in control)
    surprisal = -sampled[0].mean(Columns.BEHAVIOR_LOGP)
    vocabulary = math.log(vocabulary_size("embedded"))
    assert first == 1.0
    assert second == pytest.approx(1 + math.log(2.0 / surprisal) / (vocabulary + math.log(vocabulary)))
    told = algo.tempered_entropy(sampled[1], second)
    policy = sampled[1].entropy(metrics.SAMPLED_SURPRISAL)
    assert told != pytest.approx(policy, abs=1e-3)  # it is the tempered law's
    monkeypatch.setattr(Groups, "mean", lambda self, column: None)
    assert algo.tempered_entropy(sampled[1], second) == pytest.approx(told, abs=1e-4)  # by the learner
    algo.stop()
