"""Forecasts of entropy: their parts against derivatives and enumerated bandits, and the command on a real model."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from aepo_rllib.cli.main import cli
from aepo_rllib.doctor.forecast import Level, Sums, forecast, highest_held, lowest_held, rates_of
from aepo_rllib.objectives.entropy import tempering_gain
from aepo_rllib.objectives.entropy_pull import entropy_pull, kinds_of_tokens

STATES = torch.randn(20, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1.5


def entropy_of(logits):
    logp = logits.log_softmax(-1)
    return -(logp.exp() * logp).sum(-1)


@pytest.mark.parametrize("token", range(5))
def test_the_pull_of_a_token_is_the_derivative_of_the_entropy_along_its_gradient(token):
    """Autograd: grad H times grad log pi(token), both by the logits."""
    logits = STATES.clone().requires_grad_(True)
    [of_entropy] = torch.autograd.grad(entropy_of(logits).sum(), logits)
    [of_token] = torch.autograd.grad(logits.log_softmax(-1)[:, token].sum(), logits)
    ids = torch.full((len(STATES),), token)
    expected = (of_entropy * of_token).sum(-1)
    torch.testing.assert_close(entropy_pull(STATES.log_softmax(-1), ids), expected, atol=1e-12, rtol=0)


def test_the_mean_pull_of_tempered_tokens_grows_by_the_tempering_gain():
    """Theorem C, over all tokens: D(1) = 0, and (D(T) - D(1)) / (T - 1) -> D'(1)."""
    logp, step = STATES.log_softmax(-1), 1e-5
    pulls = torch.stack([entropy_pull(logp, torch.full((len(logp),), token)) for token in range(5)], -1)
    drift = [((STATES / T).softmax(-1) * pulls).sum(-1) for T in (1.0, 1 + step, 1 - step)]
    torch.testing.assert_close(drift[0], torch.zeros(20, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close((drift[1] - drift[2]) / (2 * step), tempering_gain(logp), atol=1e-8, rtol=0)


def test_an_impossible_token_pulls_at_nothing():
    logp = torch.tensor([[0.0, -torch.inf]], dtype=torch.float64)
    assert entropy_pull(logp, torch.tensor([0])).tolist() == [0.0]


def test_tokens_that_success_depends_on_are_told_from_style():
    """Two choices a completion: a digit (kinds 0, 1), right in half of the problems each, and a word (kinds 2, 3)."""
    generator = torch.Generator().manual_seed(0)
    digit = torch.randint(2, (60, 16), generator=generator)
    word = torch.randint(2, (60, 16), generator=generator)
    rewards = (digit == torch.arange(60).unsqueeze(-1) % 2).float()
    surprises = torch.stack([digit == 0, digit == 1, word == 0, word == 1], -1).float() - 0.5
    kinds = kinds_of_tokens(surprises, torch.ones(4), rewards)
    assert kinds.matters.tolist() == [True, True, False, False]
    assert kinds.content_share == 0.5
    torch.testing.assert_close(kinds.explained[:2], torch.ones(2), atol=0.15, rtol=0)


def test_choices_without_effect_are_explained_by_nothing_on_average():
    generator = torch.Generator().manual_seed(1)
    surprises = torch.randint(2, (400, 8, 50), generator=generator).float() - 0.5
    rewards = torch.randint(2, (400, 8), generator=generator).float()
    kinds = kinds_of_tokens(surprises, torch.ones(50), rewards)
    assert abs(kinds.explained_share) < 0.003
    assert kinds.content_share < 0.15
    assert abs(float(kinds.z.std()) - 1) < 0.35


def sums(pull, entropy=1.0, problems=4):
    full = np.full(problems, 1.0)
    return Sums(pull * full, entropy * full, full, full / 2)


def levels(hot, cold, grpo=0.0):
    """Of entropies 0.5, 1.0 and 1.5 with these rates."""
    return [
        Level(tau, sums(grpo, entropy), sums(h - grpo, entropy), sums(c - grpo, entropy))
        for tau, entropy, h, c in zip((0.7, 1.0, 1.3), (0.5, 1.0, 1.5), hot, cold, strict=True)
    ]


def test_targets_are_held_between_the_zeros_of_the_two_rates():
    found = forecast(levels(hot=(3.0, 1.0, -1.0), cold=(1.0, -1.0, -3.0)))
    assert found.highest.value == pytest.approx(1.25)
    assert found.lowest.value == pytest.approx(0.75)
    assert not found.beyond_highest
    assert not found.beyond_lowest
    assert found.entropy.low == found.entropy.value == found.entropy.high == 1.0  # all problems are alike


def test_an_entropy_that_slips_away_is_held_further_down():
    rates = rates_of(levels(hot=(1.0, -1.0, -2.0), cold=(-1.0, -2.0, -3.0)), alpha=1.0)
    assert highest_held(rates, 1) == (pytest.approx(0.75), False)
    assert lowest_held(rates, 1) == (0.5, True)


def test_where_a_rate_keeps_its_sign_the_end_lies_beyond_the_levels():
    rates = rates_of(levels(hot=(3.0, 2.0, 1.0), cold=(3.0, 2.0, 1.0)), alpha=1.0)
    assert highest_held(rates, 1) == (1.5, True)
    assert lowest_held(rates, 1) == (1.5, True)


def test_a_stronger_term_is_more_of_the_same_pull():
    rates = rates_of(levels(hot=(1.0, 1.0, 1.0), cold=(-1.0, -1.0, -1.0), grpo=-0.5), alpha=2.0)
    assert rates.hot.tolist() == [2.5] * 3
    assert rates.cold.tolist() == [-1.5] * 3


def test_a_forecast_needs_the_base_itself():
    with pytest.raises(ValueError, match="tau = 1"):
        forecast(levels(hot=(1, 1, 1), cold=(1, 1, 1))[:1])


def doctor(*arguments):
    return CliRunner().invoke(cli, ["doctor", *arguments])


def test_the_command_forecasts_a_real_model():
    result = doctor("--entropy", "--count", "6", "--samples", "4", "--json", "--set", "alpha=2")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert 0.7 < found["entropy"]["value"] < 1.05  # docs/embedded-model.md: 0.88
    assert found["settings"] == {"alpha": 2, "temperature_low": 0.8, "temperature_high": 1.2}
    assert found["levels"]["entropy"] == sorted(found["levels"]["entropy"])
    assert len(found["advice"]) >= 2
    assert found["risks"] == []


def test_bad_input_is_refused_before_anything_is_sampled():
    for arguments, message in (
        (["--count", "3"], "add --entropy"),
        (["--entropy", "--set", "alpha=-1"], "alpha"),
        (["--entropy", "--set", "nonsense=1"], "nonsense"),
        (["--entropy", "--problems", "nowhere"], "no problems called"),
        (["/nowhere", "--entropy"], "cannot read"),
    ):
        result = doctor(*arguments)
        assert result.exit_code == 2, result.output
        assert message in " ".join(result.output.split())
