"""Log-prob, entropy with its gradient, and logit variance of a token; Lemma A and Theorem C of docs/method.md."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aepo_rllib.objectives.entropy import distribution_moments, exact_entropy, token_statistics
from tests.support.goldens import golden_cases, tensor

F64 = torch.float64

# Closed form of the policy softmax([2, 1, 0, -1]) at several temperatures: entropy, and its derivative (Lemma A).
LOGITS = [2.0, 1.0, 0.0, -1.0]
ENTROPY_AT = {0.5: 0.4554286229, 0.8: 0.7988394392, 1.0: 0.9475369640, 1.2: 1.0511252430, 2.0: 1.2450504275}
SLOPE_AT = {0.5: 1.4051552821, 0.8: 0.8857805726, 1.0: 0.6165862749, 1.2: 0.4315315325, 2.0: 0.1276814306}


def tempered(logits_V: torch.Tensor, temperature: float) -> torch.Tensor:
    return (logits_V / temperature).log_softmax(-1)


@pytest.mark.parametrize("case", [*golden_cases("verl", "entropy"), *golden_cases("trl", "entropy")])
def test_entropy_and_logp_are_the_peers(case: dict[str, Any]) -> None:
    logits_BTV = tensor(case, "logits") / case["args"]["temperature"]
    statistics = token_statistics(logits_BTV, tensor(case, "actions").long())
    torch.testing.assert_close(statistics.entropy, tensor(case, "entropy"), atol=1e-6, rtol=0)
    torch.testing.assert_close(statistics.logp, tensor(case, "logprobs"), atol=1e-6, rtol=0)


@given(
    rows=st.integers(1, 3),
    tokens=st.integers(1, 4),
    vocabulary=st.integers(1, 9),
    scale=st.sampled_from([0.0, 0.1, 1.0, 10.0]),
    offset=st.floats(-50, 50),
    seed=st.integers(0, 99),
)
def test_statistics_equal_torch_distributions_and_brute_force(
    rows: int, tokens: int, vocabulary: int, scale: float, offset: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits_BTV = scale * torch.randn(rows, tokens, vocabulary, generator=generator, dtype=F64) + offset
    token_ids_BT = torch.randint(vocabulary, (rows, tokens), generator=generator)
    statistics = token_statistics(logits_BTV, token_ids_BT)
    law = torch.distributions.Categorical(logits=logits_BTV)
    torch.testing.assert_close(statistics.logp, law.log_prob(token_ids_BT))
    torch.testing.assert_close(statistics.entropy, law.entropy())
    mean_BT1 = (law.probs * logits_BTV).sum(-1, keepdim=True)
    variance_BT = (law.probs * (logits_BTV - mean_BT1).square()).sum(-1)
    torch.testing.assert_close(statistics.logit_variance, variance_BT, atol=1e-9, rtol=1e-7)


ALL = ("entropy", "logit_variance", "heated_logp", "core_entropy")


def test_impossible_tokens_count_nothing() -> None:
    with_impossible = torch.tensor([[[0.3, float("-inf"), -0.7, -1e6]]], dtype=F64)
    without = torch.tensor([[[0.3, -0.7]]], dtype=F64)
    for full, cut in zip(
        token_statistics(with_impossible, torch.tensor([[2]]), ALL),
        token_statistics(without, torch.tensor([[1]]), ALL),
        strict=True,
    ):
        torch.testing.assert_close(full, cut)
    certain = torch.tensor([[[0.0, float("-inf")]]])
    assert [figure.item() for figure in token_statistics(certain, torch.tensor([[0]]), ALL)] == [0.0] * 5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_measured_in_float32(dtype: torch.dtype) -> None:
    logits_BTV = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0)).to(dtype)
    token_ids_BT = torch.zeros(2, 3, dtype=torch.long)
    expected = token_statistics(logits_BTV.double(), token_ids_BT, ALL)
    for figure, exact in zip(token_statistics(logits_BTV, token_ids_BT, ALL), expected, strict=True):
        assert figure.dtype == torch.float32
        torch.testing.assert_close(figure.double(), exact, atol=1e-5, rtol=1e-5)


def test_log_probs_and_entropies_carry_a_gradient_and_measurements_do_not() -> None:
    logits_BTV = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0), dtype=F64, requires_grad=True)
    token_ids_BT = torch.tensor([[0, 1, 2], [3, 4, 0]])
    statistics = token_statistics(logits_BTV, token_ids_BT, ALL)
    carries = {name for name, figure in statistics._asdict().items() if figure.requires_grad}
    assert carries == {"logp", "entropy", "heated_logp", "core_entropy"}
    (gradient_BTV,) = torch.autograd.grad(statistics.logp.sum(), logits_BTV)
    one_hot_BTV = torch.nn.functional.one_hot(token_ids_BT, 5)
    torch.testing.assert_close(gradient_BTV, one_hot_BTV - logits_BTV.detach().softmax(-1))


@pytest.mark.parametrize("reads", [(), ("entropy",), ("logit_variance", "heated_logp")])
def test_figures_that_nobody_reads_are_not_there(reads: tuple[str, ...]) -> None:
    statistics = token_statistics(torch.zeros(1, 2, 3), torch.tensor([[0, 1]]), reads)
    assert {name for name, figure in statistics._asdict().items() if figure is not None} == {"logp", *reads}


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_the_gradient_of_the_entropy_is_that_of_its_formula(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits_BTV = (scale * torch.randn(2, 3, 6, generator=generator, dtype=F64)).requires_grad_()
    weight_BT = torch.randn(2, 3, generator=generator, dtype=F64)

    def entropy(logits_BTV: torch.Tensor) -> torch.Tensor:
        return token_statistics(logits_BTV, torch.zeros(2, 3, dtype=torch.long), ("entropy",)).entropy

    assert torch.autograd.gradcheck(entropy, logits_BTV)
    p_BTV = logits_BTV.softmax(-1)
    by_formula_BT = logits_BTV.logsumexp(-1) - (p_BTV * logits_BTV).sum(-1)
    found, expected = (
        torch.autograd.grad((weight_BT * figure_BT).sum(), logits_BTV)[0]
        for figure_BT in (entropy(logits_BTV), by_formula_BT)
    )
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-9)


def test_impossible_tokens_leave_the_gradient_of_the_entropy_finite() -> None:
    logits_V = torch.tensor([0.3, float("-inf"), -0.7, -1e6], dtype=F64, requires_grad=True)
    (gradient_V,) = torch.autograd.grad(exact_entropy(logits_V.log_softmax(-1)), logits_V)
    possible_V = torch.tensor([0.3, -0.7], dtype=F64, requires_grad=True)
    (expected_V,) = torch.autograd.grad(torch.distributions.Categorical(logits=possible_V).entropy(), possible_V)
    torch.testing.assert_close(gradient_V[[0, 2]], expected_V)
    assert gradient_V[[1, 3]].tolist() == [0.0, 0.0]


def test_the_entropy_keeps_nothing_of_a_vocabularys_width_beside_the_log_probs() -> None:
    kept: dict[str, set[int]] = {}
    for reads in ((), ("entropy",)):
        logits_BTV = torch.randn(2, 3, 1000, requires_grad=True)
        kept[",".join(reads)] = wide = set()

        def note(tensor: torch.Tensor, wide: set[int] = wide) -> torch.Tensor:
            if tensor.numel() == 6000:
                wide.add(tensor.untyped_storage().data_ptr())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            statistics = token_statistics(logits_BTV, torch.zeros(2, 3, dtype=torch.long), reads)
        assert statistics.logp.requires_grad
    assert {reads: len(wide) for reads, wide in kept.items()} == {"": 1, "entropy": 1}


@given(temperature=st.floats(0.2, 5.0), scale=st.sampled_from([0.0, 1.0, 10.0]), seed=st.integers(0, 99))
def test_heated_log_probs_are_those_of_divided_logits(temperature: float, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits_BTV = scale * torch.randn(2, 3, 7, generator=generator, dtype=F64)
    token_ids_BT = torch.randint(7, (2, 3), generator=generator)
    heated_BT = token_statistics(logits_BTV, token_ids_BT, ("heated_logp",), temperature=temperature).heated_logp
    law = torch.distributions.Categorical(logits=logits_BTV / temperature)
    torch.testing.assert_close(heated_BT, law.log_prob(token_ids_BT))


@pytest.mark.parametrize("temperature", ENTROPY_AT)
def test_entropy_and_its_slope_in_closed_form(temperature: float) -> None:
    entropy, variance_of_tempered = distribution_moments(tempered(torch.tensor(LOGITS, dtype=F64), temperature))
    # The tempered policy's own logits are z / T, so that Var(z) is T^2 times their variance.
    slope = variance_of_tempered * temperature**2 / temperature**3
    assert entropy.item() == pytest.approx(ENTROPY_AT[temperature], abs=1e-9)
    assert slope.item() == pytest.approx(SLOPE_AT[temperature], abs=1e-9)


@given(
    logits=st.lists(st.floats(-6, 6), min_size=2, max_size=8),
    temperature=st.floats(0.4, 3.0),
)
def test_lemma_a_entropy_rises_with_temperature_by_the_logit_variance(logits: list[float], temperature: float) -> None:
    logits_V, step = torch.tensor(logits, dtype=F64), 1e-4
    above, _ = distribution_moments(tempered(logits_V, temperature + step))
    below, _ = distribution_moments(tempered(logits_V, temperature - step))
    _, variance_of_tempered = distribution_moments(tempered(logits_V, temperature))
    difference = ((above - below) / (2 * step)).item()
    assert difference == pytest.approx((variance_of_tempered / temperature).item(), rel=1e-4, abs=1e-6)
    assert difference >= -1e-9


def test_theorem_c_imitating_tempered_samples_moves_the_entropy_to_the_temperatures_side() -> None:
    logits_V = torch.tensor(LOGITS, dtype=F64)
    logp_V = logits_V.log_softmax(-1)
    pi_V = logp_V.exp()
    surprise_V = logp_V + distribution_moments(logp_V)[0]
    response_V = -pi_V * surprise_V + (pi_V.square() * surprise_V).sum()
    torch.testing.assert_close(
        response_V,
        torch.tensor([-0.1578706782, 0.2855184288, 0.2988936664, 0.2487284259], dtype=F64),
        atol=1e-9,
        rtol=0,
    )
    # The same response from a real step of REINFORCE on samples of the tempered policy, all of them correct.
    expected = {0.8: -0.0328164738, 1.0: 0.0, 1.2: 0.0252619336}
    for temperature, change in expected.items():
        law_V = tempered(logits_V, temperature).exp()
        assert (law_V * response_V).sum().item() == pytest.approx(change, abs=1e-9)
        parameters_V = logits_V.clone().requires_grad_()
        logp_BTV = token_statistics(parameters_V.expand(4, 1, 4), torch.arange(4).unsqueeze(-1)).logp
        (gradient_V,) = torch.autograd.grad((law_V * logp_BTV.squeeze(-1)).sum(), parameters_V)
        rate = 1e-5
        moved, _ = distribution_moments((logits_V + rate * gradient_V).log_softmax(-1))
        before, _ = distribution_moments(logp_V)
        assert ((moved - before) / rate).item() == pytest.approx(change, abs=1e-5)


def test_mean_surprisal_of_the_policys_own_tokens_estimates_its_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_V = torch.randn(20, generator=generator, dtype=F64)
    draws = 20_000
    tokens_BT = torch.multinomial(logits_V.softmax(-1), draws, replacement=True, generator=generator).unsqueeze(0)
    statistics = token_statistics(logits_V.expand(1, draws, 20), tokens_BT)
    surprisal_BT = -statistics.logp
    standard_error = surprisal_BT.std().item() / draws**0.5
    assert abs((surprisal_BT.mean() - statistics.entropy[0, 0]).item()) < 5 * standard_error
