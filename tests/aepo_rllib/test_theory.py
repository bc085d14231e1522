"""The method's theory on one softmax state, with the methods' own losses and advantages.

Expectations are exact: every action is a completion of one token that weighs as much as the tempered law draws it.
The checks are functions of a method, so that broken methods can be shown to fail them. Letters are those of
docs/method.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from aepo_rllib import AEPOConfig
from aepo_rllib.algorithms.aepo_corrected import AEPOCorrectedConfig
from aepo_rllib.algorithms.aepo_signed import AEPOSignedConfig
from aepo_rllib.algorithms.scope_rl import ScopeRLConfig
from aepo_rllib.objectives.advantages import Graded
from aepo_rllib.objectives.entropy import distribution_moments
from aepo_rllib.objectives.losses import clipped
from aepo_rllib.objectives.parts import Method, Tokens, term_values

F64 = torch.float64
TRIALS = 400
GOLDEN_LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0], dtype=F64)
TEMPERED = "tempered"


class TemperedMethod(NamedTuple):
    """A method with a tempered term.

    Attributes:
        parts: With a tempered stream and term.
        ratio_to_tempered: Whether the loss is shown the tempered law as the old policy.
    """

    parts: Method
    ratio_to_tempered: bool = False

    def with_term(self, **changes: Any) -> TemperedMethod:
        """The same with another tempered term."""
        terms = self.parts.terms
        return self._replace(parts=replace(self.parts, terms={TEMPERED: replace(terms[TEMPERED], **changes)}))


AEPO_METHOD = TemperedMethod(AEPOConfig().method())
CORRECTED, SIGNED = TemperedMethod(AEPOCorrectedConfig().method()), TemperedMethod(AEPOSignedConfig().method())


def law(logits_V: torch.Tensor, temperature: float) -> torch.Tensor:
    """log pi^T."""
    return (logits_V / temperature).log_softmax(-1)


def entropy(logits_V: torch.Tensor) -> float:
    return distribution_moments(logits_V.log_softmax(-1))[0].item()


def step_direction(
    method: TemperedMethod, logits_V: torch.Tensor, temperature: float, rewards_V: torch.Tensor
) -> torch.Tensor:
    """Minus the expected gradient of the tempered term with respect to the logits."""
    tempered_V, policy_V = law(logits_V, temperature), law(logits_V, 1.0)
    graded = Graded(rewards_V[None], log_importance_PG=(policy_V - tempered_V)[None])
    advantages_PG = method.parts.streams[TEMPERED].advantage(graded)
    parameters_V = logits_V.clone().requires_grad_()
    tokens = Tokens(
        parameters_V.log_softmax(-1)[:, None],
        (tempered_V if method.ratio_to_tempered else policy_V)[:, None],
        advantages_PG[0][:, None],
        torch.ones(len(logits_V), 1, dtype=torch.bool),
    )
    terms = method.parts.terms_of(TEMPERED)
    weight_VK = torch.stack([term.coefficient * tempered_V.exp() for term in terms.values()], dim=1)
    [value] = term_values(terms, tokens, weight_VK).values()
    return -torch.autograd.grad(value, parameters_V)[0]


def entropy_response(
    method: TemperedMethod, logits_V: torch.Tensor, temperature: float, rewards_V: torch.Tensor
) -> float:
    """dH / d eta of a step, by central differences on the real entropy."""
    direction_V, rate = step_direction(method, logits_V, temperature, rewards_V), 1e-4
    return (entropy(logits_V + rate * direction_V) - entropy(logits_V - rate * direction_V)) / (2 * rate)


def phi(logits_V: torch.Tensor) -> torch.Tensor:
    """How drawing each action once moves the entropy (Lemma B)."""
    pi_V, u_V = law(logits_V, 1.0).exp(), law(logits_V, 1.0) + entropy(logits_V)
    return -pi_V * u_V + (pi_V.square() * u_V).sum()


def random_states(seed: int, *, trials: int = TRIALS) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Logits and binary rewards with at least one positive."""
    generator = np.random.default_rng(seed)
    states = []
    for _ in range(trials):
        size = int(generator.integers(2, 9))
        logits_V = torch.from_numpy(generator.normal(scale=generator.choice([0.3, 1.0, 2.5]), size=size))
        rewards = (generator.random(size) < generator.choice([0.2, 0.5, 0.8])).astype(float)
        rewards[generator.integers(size)] = 1.0
        states.append((logits_V, torch.from_numpy(rewards)))
    return states


# --- What a method must satisfy -----------------------------------------------------------------------------------


def check_lemma_b(method: TemperedMethod) -> None:
    """The entropy moves by eta sum_a pi^T_a R_a phi_a."""
    for logits_V, rewards_V in random_states(0):
        for temperature in (0.8, 1.0, 1.2):
            expected = (law(logits_V, temperature).exp() * rewards_V * phi(logits_V)).sum().item()
            assert entropy_response(method, logits_V, temperature, rewards_V) == pytest.approx(expected, abs=1e-6)


def check_theorem_c(method: TemperedMethod) -> None:
    """With R = 1 the expected step keeps the entropy at T = 1, and heating raises, cooling lowers it."""
    for logits_V, _ in random_states(1):
        ones_V = torch.ones_like(logits_V)
        at = partial(entropy_response, method, logits_V, rewards_V=ones_V)
        assert at(temperature=1.0) == pytest.approx(0.0, abs=1e-8)
        policy_V = law(logits_V, 1.0)
        slope = (policy_V.exp().square() * (policy_V + entropy(logits_V)).square()).sum().item()
        assert (at(temperature=1.001) - at(temperature=0.999)) / 0.002 == pytest.approx(slope, abs=1e-5)
        if slope > 1e-4:  # neither uniform nor collapsed: there control is gone (D'(1) = 0)
            assert at(temperature=1.2) > 0 > at(temperature=0.8)


def check_theorem_d(method: TemperedMethod) -> None:
    """For any positives and T >= 1: where the entropy falls, more heat makes it fall less."""
    falling = 0
    for index, (logits_V, rewards_V) in enumerate(random_states(2)):
        temperature = 1.0 + 2.0 * index / TRIALS
        response = entropy_response(method, logits_V, temperature, rewards_V)
        if response < -1e-5:
            falling += 1
            assert entropy_response(method, logits_V, temperature + 1e-3, rewards_V) > response
    assert falling > TRIALS // 10


def check_golden(method: TemperedMethod) -> None:
    """Closed form for z = [2, 1, 0, -1] and R = [1, 0, 1, 0]."""
    rewards_V = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=F64)
    for temperature, response in ((0.8, -0.0957799), (1.0, -0.0756083), (1.2, -0.0594626)):
        assert entropy_response(method, GOLDEN_LOGITS, temperature, rewards_V) == pytest.approx(response, abs=1e-7)


def check_the_temperature_matters(method: TemperedMethod) -> None:
    """The opposite of Corollary F: the expected step depends on T."""
    for logits_V, rewards_V in random_states(3, trials=50):
        if rewards_V.sum() == 1 and len(logits_V) == 2:
            continue
        cold_V, hot_V = (step_direction(method, logits_V, t, rewards_V) for t in (0.8, 1.2))
        assert (cold_V - hot_V).abs().max() > 1e-4


CHECKS = [check_lemma_b, check_theorem_c, check_theorem_d, check_golden, check_the_temperature_matters]


@pytest.mark.parametrize("config", [AEPOConfig, ScopeRLConfig], ids=lambda config: config.__name__)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_paper_and_its_later_version(check: Callable[[TemperedMethod], None], config: type[AEPOConfig]) -> None:
    check(TemperedMethod(config().method()))


# --- The checks can fail ------------------------------------------------------------------------------------------

BROKEN = {
    "completions weighted by pi / pi^T": (
        CORRECTED,
        {check_lemma_b, check_theorem_c, check_theorem_d, check_golden, check_the_temperature_matters},
    ),
    "a ratio against the tempered law in the loss": (
        AEPO_METHOD.with_term(loss=partial(clipped, low=0.999, high=1e6))._replace(ratio_to_tempered=True),
        {check_lemma_b, check_theorem_c, check_theorem_d, check_golden, check_the_temperature_matters},
    ),
    "negatives kept": (SIGNED, {check_lemma_b, check_theorem_d, check_golden}),
    "learned from with the wrong sign": (
        AEPO_METHOD.with_term(coefficient=-1.0),
        {check_lemma_b, check_theorem_c, check_theorem_d, check_golden},
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_method_fails(name: str) -> None:
    method, expected = BROKEN[name]
    failed = set()
    for check in CHECKS:
        try:
            check(method)
        except AssertionError:
            failed.add(check)
    assert failed == expected


# --- What the theory does not say ---------------------------------------------------------------------------------


def test_corollary_f_the_corrected_step_is_the_same_at_every_temperature() -> None:
    for logits_V, rewards_V in random_states(4, trials=50):
        cold_V, hot_V = (step_direction(CORRECTED, logits_V, t, rewards_V) for t in (0.8, 1.2))
        torch.testing.assert_close(cold_V, hot_V, atol=1e-12, rtol=0)
        on_policy_V = step_direction(AEPO_METHOD, logits_V, 1.0, rewards_V)
        torch.testing.assert_close(hot_V, on_policy_V, atol=1e-12, rtol=0)


def test_corollary_e_negatives_pull_the_other_way() -> None:
    """Weight -1 on a set moves the entropy against weight +1 on it; all signs together are the difference."""
    for logits_V, rewards_V in random_states(5, trials=50):
        both = entropy_response(SIGNED, logits_V, 1.2, rewards_V)
        positives = entropy_response(AEPO_METHOD, logits_V, 1.2, rewards_V)
        negatives = entropy_response(AEPO_METHOD, logits_V, 1.2, 1.0 - rewards_V)
        assert both == pytest.approx(positives - negatives, abs=1e-6)


def test_a_hot_positive_step_may_still_lower_the_entropy() -> None:
    """The method counteracts a collapse; it does not promise a rise in every step."""
    rewards_V = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=F64)
    assert entropy_response(AEPO_METHOD, GOLDEN_LOGITS, 1.2, rewards_V) < 0


def test_lemma_a_does_not_hold_for_sequences() -> None:
    """A likely first token has 1,000 equal continuations, a rare one has a single one: heat prefers the rare one."""
    first_V = torch.tensor([0.99, 0.01], dtype=F64).log()
    continuations = (np.log(1000.0), 0.0)
    entropies = []
    for temperature in (0.8, 1.0, 1.2, 2.0):
        head, tail = law(first_V, temperature).exp().tolist()
        entropies.append(entropy(first_V / temperature) + head * continuations[0] + tail * continuations[1])
    assert entropies == pytest.approx([6.9072, 6.8947, 6.8638, 6.5825], abs=5e-5)
    assert entropies == sorted(entropies, reverse=True)
