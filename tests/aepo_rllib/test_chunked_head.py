"""Statistics from hidden states, a slice of tokens at a time, against those of all logits at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aepo_rllib.objectives.chunked_head import head_statistics
from aepo_rllib.objectives.entropy import TokenStatistics, token_statistics

F64 = torch.float64
OPTIONAL = ("entropy", "logit_variance", "heated_logp")
TEMPERATURE = 1.7
TENSORS = ("hidden", "weight", "bias")


def inputs(tokens: int, width: int, vocabulary: int, *, seed: int, bias: bool = True) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=F64)

    made = {"hidden": normal(tokens, width), "weight": normal(vocabulary, width), "bias": normal(vocabulary)}
    ids = torch.randint(vocabulary, (tokens,), generator=generator)
    return {name: made[name].requires_grad_() for name in TENSORS if bias or name != "bias"} | {"ids": ids}


def at_once(given_: dict[str, torch.Tensor], reads: Collection[str]) -> TokenStatistics:
    logits = given_["hidden"] @ given_["weight"].T + given_.get("bias", 0.0)
    return token_statistics(logits, given_["ids"], reads, temperature=TEMPERATURE)


def in_slices(given_: dict[str, torch.Tensor], reads: Collection[str], slice_logits: int) -> TokenStatistics:
    hidden, weight, bias = (given_.get(name) for name in TENSORS)
    assert hidden is not None
    assert weight is not None
    return head_statistics(
        hidden, weight, bias, given_["ids"], reads, temperature=TEMPERATURE, slice_logits=slice_logits
    )


def gradients(statistics: TokenStatistics, given_: dict[str, torch.Tensor], seed: int) -> list[torch.Tensor]:
    """Of a weighted sum of all that has a gradient."""
    generator = torch.Generator().manual_seed(seed)
    differentiable = [figure for figure in statistics if figure is not None and figure.requires_grad]
    total = sum((figure * torch.randn(figure.shape, generator=generator, dtype=F64)).sum() for figure in differentiable)
    assert isinstance(total, torch.Tensor)
    return list(torch.autograd.grad(total, [given_[name] for name in TENSORS if name in given_]))


@settings(deadline=None)  # the first use of autograd takes longer
@given(
    tokens=st.integers(0, 7),
    width=st.integers(1, 4),
    vocabulary=st.integers(1, 9),
    slice_logits=st.integers(1, 70),
    reads=st.sets(st.sampled_from(OPTIONAL)),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_are_those_of_all_logits_at_once(
    tokens: int, width: int, vocabulary: int, slice_logits: int, reads: set[str], bias: bool, seed: int
) -> None:
    given_ = inputs(tokens, width, vocabulary, seed=seed, bias=bias)
    found, expected = in_slices(given_, reads, slice_logits), at_once(given_, reads)
    for name, figure in expected._asdict().items():
        other = getattr(found, name)
        assert (figure is None) is (other is None) is (name != "logp" and name not in reads)
        if figure is not None:
            torch.testing.assert_close(other, figure, atol=1e-10, rtol=1e-9)
            assert other.requires_grad is figure.requires_grad
    for one, other in zip(gradients(found, given_, seed), gradients(expected, given_, seed), strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-9)


def test_gradients_are_the_numerical_ones() -> None:
    given_ = inputs(5, 3, 7, seed=1)

    def figures(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        reads = ("entropy", "heated_logp")
        found = head_statistics(hidden, weight, bias, given_["ids"], reads, temperature=TEMPERATURE, slice_logits=14)
        return found.logp, found.entropy, found.heated_logp

    assert torch.autograd.gradcheck(figures, [given_[name] for name in TENSORS])


def test_a_frozen_head_has_no_gradient_and_hidden_states_have_theirs() -> None:
    given_ = inputs(5, 3, 7, seed=1)
    expected = gradients(at_once(given_, OPTIONAL), given_, 0)[0]
    frozen = {name: tensor.detach() for name, tensor in given_.items()} | {"hidden": given_["hidden"]}
    statistics = in_slices(frozen, OPTIONAL, 14)
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros((), dtype=F64)
    for figure in (statistics.logp, statistics.entropy, statistics.heated_logp):
        assert figure is not None
        total = total + (figure * torch.randn(5, generator=generator, dtype=F64)).sum()
    torch.testing.assert_close(torch.autograd.grad(total, frozen["hidden"])[0], expected)


def test_a_token_of_no_probability_keeps_entropy_and_gradients_finite() -> None:
    given_ = inputs(3, 2, 4, seed=0)
    with torch.no_grad():
        given_["bias"][1] = -float("inf")
        given_["ids"].zero_()
    found, expected = in_slices(given_, OPTIONAL, 4), at_once(given_, OPTIONAL)
    for figure, other in zip(found, expected, strict=True):
        torch.testing.assert_close(figure, other)
    hidden, weight, _ = gradients(found, given_, 0)
    assert hidden.isfinite().all()
    assert weight.isfinite().all()


def test_sixteen_bits_sum_their_weights_gradient_in_thirty_two() -> None:
    """Of 4,096 slices that each add a 4,096th: a sum in bfloat16 would stop growing at 256 of them."""
    tokens = 4096
    hidden = torch.ones(tokens, 1, dtype=torch.bfloat16)
    weight = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    ids = torch.zeros(tokens, dtype=torch.long)
    logp = head_statistics(hidden, weight, None, ids, (), slice_logits=2).logp
    assert logp.dtype == torch.float32
    (logp.sum() / tokens).backward()
    assert weight.grad is not None
    assert weight.grad[:, 0].tolist() == [0.5, -0.5]


GROWTH = """
import json, resource, sys, torch
from aepo_rllib.objectives.chunked_head import head_statistics
torch.set_num_threads(1)
V, D, T = 151_936, 64, int(sys.argv[1])
hidden, weight = torch.randn(T, D, requires_grad=True), torch.randn(V, D, requires_grad=True)
weight.grad = torch.zeros_like(weight)
ids = torch.randint(V, (T,))
head_statistics(hidden[:2], weight, None, ids[:2]).logp.sum().backward()  # libraries have buffers of their own
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
statistics = head_statistics(hidden, weight, None, ids, ("entropy",))
(statistics.logp - 0.1 * statistics.entropy).sum().backward()
print(json.dumps((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024))
"""


@pytest.mark.process
def test_memory_does_not_grow_with_tokens_and_stays_below_half_a_gigabyte() -> None:
    """Every tensor as large as all logits would take 0.31 and 1.24 GB, and several of them are there at once."""
    grown = {
        tokens: json.loads(
            subprocess.run([sys.executable, "-c", GROWTH, str(tokens)], capture_output=True, check=True).stdout
        )
        for tokens in (512, 2048)
    }
    assert grown[2048] < 0.5e9
    assert grown[2048] - grown[512] < 0.2e9
