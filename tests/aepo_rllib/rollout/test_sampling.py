"""The sampling law, draws from it, and the random keys of completions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aepo_rllib.rollout import RolloutRequest, SamplingFilters
from aepo_rllib.rollout.request import MAIN_STREAM, purpose_of, split
from aepo_rllib.rollout.sampling import draw, sampling_law, uniforms

F64 = torch.float64


def reference_law(logits: np.ndarray, temperature: float, filters: SamplingFilters) -> np.ndarray:
    """Filter after filter on a dict of tokens, renormalised after each."""

    def normalised(law: dict[int, float]) -> dict[int, float]:
        total = sum(law.values())
        return {token: p / total for token, p in law.items()}

    weights = np.exp((logits - logits.max()) / temperature)
    law = normalised(dict(enumerate(weights.tolist())))
    ranked = sorted(law, key=lambda token: -law[token])
    if filters.top_k:
        law = normalised({token: law[token] for token in ranked[: filters.top_k]})
    kept, mass = {}, 0.0
    for token in sorted(law, key=lambda token: -law[token]):
        if mass >= filters.top_p and filters.top_p < 1:
            break
        kept[token] = law[token]
        mass += law[token]
    law = normalised(kept)
    bound = filters.min_p * max(law.values())
    law = normalised({token: p for token, p in law.items() if p >= bound})
    return np.array([law.get(token, 0.0) for token in range(len(logits))])


@given(
    vocabulary=st.integers(1, 12),
    temperature=st.sampled_from([0.3, 0.8, 1.0, 1.2, 3.0]),
    top_k=st.integers(0, 14),
    top_p=st.sampled_from([1.0, 0.99, 0.9, 0.5, 0.1, 1e-6]),
    min_p=st.sampled_from([0.0, 0.01, 0.2, 0.9]),
    seed=st.integers(0, 500),
)
def test_filters_equal_brute_force(
    vocabulary: int, temperature: float, top_k: int, top_p: float, min_p: float, seed: int
) -> None:
    logits_BV = 2 * torch.randn(3, vocabulary, generator=torch.Generator().manual_seed(seed), dtype=F64)
    filters = SamplingFilters(top_k=top_k, top_p=top_p, min_p=min_p)
    law_BV = sampling_law(logits_BV, torch.full((3,), temperature, dtype=F64), filters)
    for row in range(3):
        expected = reference_law(logits_BV[row].numpy(), temperature, filters)
        np.testing.assert_allclose(law_BV[row].numpy(), expected, atol=1e-12)


def test_filters_by_hand() -> None:
    logits_BV = torch.tensor([[0.1, 0.5, 0.15, 0.25]], dtype=F64).log()
    one = torch.ones(1, dtype=F64)

    def law(**filters: float) -> list[float]:
        return sampling_law(logits_BV, one, SamplingFilters(**filters))[0].tolist()  # type: ignore[arg-type]

    assert law() == pytest.approx([0.1, 0.5, 0.15, 0.25])
    assert law(top_k=2) == pytest.approx([0, 2 / 3, 0, 1 / 3])
    assert law(top_p=0.7) == pytest.approx([0, 2 / 3, 0, 1 / 3])
    assert law(top_p=0.8) == pytest.approx([0, 5 / 9, 1.5 / 9, 2.5 / 9])
    assert law(min_p=0.25) == pytest.approx([0, 5 / 9, 1.5 / 9, 2.5 / 9])
    # top_p counts the mass that top_k left over: 2/3 alone reaches 0.6.
    assert law(top_k=2, top_p=0.6) == pytest.approx([0, 1, 0, 0])


def test_every_row_has_its_own_temperature() -> None:
    logits_V = torch.tensor([2.0, 1.0, 0.0, -1.0], dtype=F64)
    temperatures = [0.5, 1.0, 2.0]
    law_BV = sampling_law(logits_V.expand(3, 4), torch.tensor(temperatures, dtype=F64), SamplingFilters())
    for row, temperature in enumerate(temperatures):
        gaps = law_BV[row].log()[0] - law_BV[row].log()
        torch.testing.assert_close(gaps, (logits_V[0] - logits_V) / temperature)


def test_the_logits_are_left_alone() -> None:
    logits_BV = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    before = logits_BV.clone()
    sampling_law(logits_BV, torch.ones(2), SamplingFilters(top_k=2, top_p=0.5, min_p=0.1))
    assert torch.equal(logits_BV, before)


@pytest.mark.parametrize(
    "bad", [{"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}, {"min_p": -0.1}, {"min_p": 1.0}, {"top_p": float("nan")}]
)
def test_impossible_filters_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="top_k >= 0"):
        SamplingFilters(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("filters", "on"), [({}, False), ({"top_k": 1}, True), ({"top_p": 0.9}, True), ({"min_p": 0.1}, True)]
)
def test_filters_are_true_when_one_is_on(filters: dict[str, float], on: bool) -> None:
    assert bool(SamplingFilters(**filters)) is on  # type: ignore[arg-type]


@given(weights=st.lists(st.sampled_from([0.0, 0.001, 0.2, 1.0, 3.0]), min_size=1, max_size=8))
def test_a_grid_of_uniforms_covers_every_token_in_proportion(weights: list[float]) -> None:
    if not sum(weights):
        weights[0] = 1.0
    probs_V = torch.tensor(weights, dtype=F64) / sum(weights)
    size = 2000
    grid_B = (torch.arange(size, dtype=F64) + 0.5) / size
    counts_V = torch.bincount(draw(probs_V.expand(size, -1), grid_B), minlength=len(weights))
    assert (counts_V - size * probs_V).abs().max() <= 1
    assert (counts_V[probs_V == 0] == 0).all()


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ends_of_the_unit_interval_draw_possible_tokens(uniform: float, dtype: torch.dtype) -> None:
    probs_BV = torch.tensor([[0.0, 0.3, 0.0, 0.7, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0]], dtype=dtype)
    tokens_B = draw(probs_BV, torch.full((2,), uniform, dtype=F64))
    assert tokens_B.tolist() == [1 if uniform == 0 else 3, 2]


def test_rounding_of_the_sum_does_not_leave_the_support() -> None:
    generator = torch.Generator().manual_seed(0)
    probs_BV = torch.randn(64, 5000, generator=generator).softmax(-1)
    probs_BV[:, 4000:] = 0.0
    probs_BV *= 0.999  # far more than rounding would leave
    tokens_B = draw(probs_BV, torch.full((64,), 1 - 2**-53, dtype=F64))
    assert (tokens_B < 4000).all()


def test_rare_tokens_after_a_common_one_are_drawn_although_float32_could_not_add_them_up() -> None:
    rare = 32
    probs_V = torch.tensor([1 - 2**-20, *[2**-25] * rare])
    uniform_B = 1 - 2**-20 + (torch.arange(rare, dtype=F64) + 0.5) * 2**-25
    assert draw(probs_V.expand(rare, -1), uniform_B).tolist() == list(range(1, rare + 1))


def test_uniforms_depend_on_the_key_alone() -> None:
    keys = [(0, 1, 2, 3, 4, 5), (7, 0, 0, 0, 0, 0), (0, 1, 2, 3, 4, 6)]
    rows = uniforms(keys, 16)
    assert rows.shape == (3, 16)
    assert rows.dtype == F64
    assert ((rows >= 0) & (rows < 1)).all()
    for place, key in enumerate(keys):
        assert torch.equal(uniforms([key], 16)[0], rows[place])
        assert torch.equal(uniforms([key], 40)[0, :16], rows[place]), "more tokens change the first ones"
    assert torch.equal(uniforms(keys[::-1], 16), rows.flip(0))
    assert uniforms([], 16).shape == (0, 16)


def test_uniforms_of_different_keys_are_uniform_and_independent() -> None:
    request = RolloutRequest(MAIN_STREAM, 0, 0, tuple(range(20)), tuple(range(20)), group_size=20)
    rows = uniforms([request.key(slot, sample) for slot in range(20) for sample in range(20)], 50)
    counts = torch.histc(rows.float(), bins=20, min=0, max=1)
    expected = rows.numel() / 20
    assert (counts - expected).abs().max() < 5 * expected**0.5
    correlations = torch.corrcoef(rows) - torch.eye(len(rows), dtype=F64)
    assert correlations.abs().max() < 0.9, "two completions share their uniforms"
    assert abs(correlations.sum().item()) / len(rows) < 1  # 5 standard errors of independent rows


def test_every_field_of_a_request_changes_the_key() -> None:
    base = {"purpose": MAIN_STREAM, "seed": 1, "step": 1}
    variants = [
        base,
        base | {"purpose": purpose_of("tempered", ("main", "tempered"))},
        base | {"seed": 2},
        base | {"step": 2},
    ]
    keys = [
        RolloutRequest(**fields, slots=(0, 1), problems=(5, 5), group_size=2).key(slot, sample, turn)  # type: ignore[arg-type]
        for fields in variants
        for slot in (0, 1)
        for sample in (0, 1)
        for turn in (0, 1)
    ]
    first = uniforms(keys, 1)[:, 0].tolist()
    assert len(set(keys)) == len(set(first)) == len(keys)


@given(slots=st.integers(1, 9), others=st.integers(0, 5), parts=st.integers(1, 16))
def test_split_requests_cover_every_slot_once_with_its_problem(slots: int, others: int, parts: int) -> None:
    main = RolloutRequest(MAIN_STREAM, 0, 3, tuple(range(slots)), tuple(range(100, 100 + slots)), group_size=4)
    tempered = purpose_of("tempered", ("main", "tempered"))
    hot = RolloutRequest(tempered, 0, 3, tuple(range(others)), tuple(range(200, 200 + others)), 4, temperature=1.2)
    shares = split([main, hot], parts)
    assert len(shares) == min(slots + others, parts)
    assert all(request.slots for share in shares for request in share)
    covered = [
        (request.purpose, slot, problem)
        for share in shares
        for request in share
        for slot, problem in zip(request.slots, request.problems, strict=True)
    ]
    assert sorted(covered) == sorted(
        [(MAIN_STREAM, slot, 100 + slot) for slot in range(slots)]
        + [(tempered, slot, 200 + slot) for slot in range(others)]
    )
    sizes = [sum(len(request.slots) for request in share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    mains = [sum(len(request.slots) for request in share if request.purpose == MAIN_STREAM) for share in shares]
    assert max(mains) - min(mains) <= 1
    kept = {(r.purpose, r.seed, r.step, r.group_size, r.temperature) for share in shares for r in share}
    assert kept == {(MAIN_STREAM, 0, 3, 4, 1.0), *([(tempered, 0, 3, 4, 1.2)] if others else [])}
