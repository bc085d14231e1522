"""Means over rows and tokens: the peers' numbers, and what every mean must do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aepo_rllib.objectives.aggregation import AGGREGATIONS, row_weights
from aepo_rllib.objectives.parts import Term, Tokens, term_values
from tests.support.goldens import golden_cases, tensor

F64 = torch.float64
LOG_PROB = Term(lambda t: t.logp)
"""A term whose loss is whatever stands for the log-prob."""


def weights_of(mask_BT: torch.Tensor, aggregation: str, max_length: int | None = None) -> torch.Tensor:
    lengths = mask_BT.sum(1).int().tolist()
    return torch.tensor(row_weights(lengths, aggregation=aggregation, max_length=max_length), dtype=F64)


def weighted_mean(values_BT: torch.Tensor, mask_BT: torch.Tensor, weight_B: torch.Tensor) -> torch.Tensor:
    """As a loss takes it."""
    tokens = Tokens(values_BT * mask_BT, values_BT, values_BT, mask_BT)
    return term_values({"mean": LOG_PROB}, tokens, weight_B[:, None])["mean"]


@pytest.mark.parametrize(
    ("case", "aggregation", "max_length"),
    [
        (*golden_cases("verl", "agg_token-mean")[0].values, "token-mean", None),
        (*golden_cases("verl", "agg_seq-mean-token-sum-norm")[0].values, "seq-mean-token-sum-norm", 5),
        (*golden_cases("verl", "agg_seq-mean-token-sum")[-1].values, "seq-mean-token-sum-norm", 1),
        (*golden_cases("verl", "agg_dr_grpo_const")[0].values, "seq-mean-token-sum-norm", 16),
        (*golden_cases("oat_drgrpo", "agg_drgrpo_const3000")[0].values, "seq-mean-token-sum-norm", 3000),
        (*golden_cases("oat_drgrpo", "agg_grpo_seqmean")[0].values, "seq-mean-token-mean", None),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else None,
)
def test_means_are_the_peers(case: dict[str, Any], aggregation: str, max_length: int | None) -> None:
    mask_BT = tensor(case, "response_mask").bool()
    mean = weighted_mean(tensor(case, "values"), mask_BT, weights_of(mask_BT, aggregation, max_length))
    torch.testing.assert_close(mean, tensor(case, "loss"), atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", golden_cases("verl", "agg_split"))
def test_parts_of_a_split_batch_add_up_as_in_verl(case: dict[str, Any]) -> None:
    mask_BT = tensor(case, "response_mask").bool()
    aggregation, max_length = case["args"]["loss_agg_mode"], case["args"].get("loss_scale_factor")
    weight_B = weights_of(mask_BT, aggregation, max_length)
    parts = [
        weighted_mean(tensor(case, "values")[start:stop], mask_BT[start:stop], weight_B[start:stop])
        for start, stop in case["args"]["split"]
    ]
    torch.testing.assert_close(torch.stack(parts), tensor(case, "parts"), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.stack(parts).sum(), tensor(case, "total"), atol=1e-6, rtol=0)


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=9), aggregation=st.sampled_from([*AGGREGATIONS]))
def test_weights_turn_a_constant_loss_into_itself(lengths: list[int], aggregation: str) -> None:
    weights = row_weights(lengths, aggregation=aggregation, max_length=30, micro_batch_size=2)
    total = sum(weight * length for weight, length in zip(weights, lengths, strict=True))
    fill = sum(lengths) / (30 * len(lengths)) if aggregation == "seq-mean-token-sum-norm" else 1.0
    assert total == pytest.approx(fill)


def test_weights_by_hand() -> None:
    assert row_weights([2, 3], aggregation="token-mean") == pytest.approx([1 / 5, 1 / 5])
    assert row_weights([2, 3], aggregation="seq-mean-token-mean") == pytest.approx([1 / 4, 1 / 6])
    assert row_weights([2, 3], aggregation="seq-mean-token-sum-norm", max_length=10) == pytest.approx([1 / 20, 1 / 20])
    micro_batches = row_weights([2, 3, 10], aggregation="micro-batch-token-mean", micro_batch_size=2)
    assert micro_batches == pytest.approx([1 / 10, 1 / 10, 1 / 20])


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_no_rows_have_no_weights(aggregation: str) -> None:
    assert row_weights([], aggregation=aggregation) == []


def test_bad_aggregations_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown aggregation 'mean'; choose one of token-mean, seq-mean-token-mean"):
        row_weights([1], aggregation="mean")
    with pytest.raises(ValueError, match="max_length"):
        row_weights([1], aggregation="seq-mean-token-sum-norm")
    with pytest.raises(ValueError, match="micro_batch_size"):
        row_weights([1], aggregation="micro-batch-token-mean")
