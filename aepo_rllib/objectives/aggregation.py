"""Means over rows and tokens, as one weight per row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


def row_weights(
    lengths: Sequence[int], *, aggregation: str, max_length: int | None = None, micro_batch_size: int | None = None
) -> list[float]:
    """Weights that turn a sum over rows and tokens into the named mean.

    Args:
        lengths: Tokens of every row that *counts*, over all learners, whether or not it carries gradient.
        aggregation: "token-mean" (all tokens alike), "seq-mean-token-mean" (all rows alike; the GRPO paper),
            "seq-mean-token-sum-norm" (Dr. GRPO: divided by rows x `max_length`) or "micro-batch-token-mean" (mean over
            micro-batches of their token means: rows beside short ones weigh more; the authors' code of AEPO).
        max_length: The generation budget in tokens, for "seq-mean-token-sum-norm".
        micro_batch_size: Neighbouring rows of a micro-batch, for "micro-batch-token-mean".

    Returns:
        One weight per row.

    Raises:
        ValueError: unknown aggregation, or what it needs is missing.
    """
    if aggregation not in AGGREGATIONS:
        raise ValueError(f"unknown aggregation {aggregation!r}; choose one of {', '.join(AGGREGATIONS)}")
    return AGGREGATIONS[aggregation].weights(lengths, max_length, micro_batch_size) if lengths else []


def _token_mean(lengths: Sequence[int], max_length: int | None, micro_batch_size: int | None) -> list[float]:
    return [1.0 / sum(lengths)] * len(lengths)


def _sequence_mean(lengths: Sequence[int], max_length: int | None, micro_batch_size: int | None) -> list[float]:
    return [1.0 / (len(lengths) * length) for length in lengths]


def _budget_mean(lengths: Sequence[int], max_length: int | None, micro_batch_size: int | None) -> list[float]:
    if max_length is None:
        raise ValueError("seq-mean-token-sum-norm needs max_length")
    return [1.0 / (len(lengths) * max_length)] * len(lengths)


def _micro_batch_mean(lengths: Sequence[int], max_length: int | None, micro_batch_size: int | None) -> list[float]:
    if micro_batch_size is None:
        raise ValueError("micro-batch-token-mean needs micro_batch_size")
    parts = [lengths[start : start + micro_batch_size] for start in range(0, len(lengths), micro_batch_size)]
    return [1.0 / (len(parts) * sum(part)) for part in parts for _ in part]


class Aggregation(NamedTuple):
    """A mean.

    Attributes:
        weights: From lengths, `max_length` and `micro_batch_size` to one weight per row.
        micro_batched: Whether it depends on `micro_batch_size`.
    """

    weights: Callable[[Sequence[int], int | None, int | None], list[float]]
    micro_batched: bool = False


AGGREGATIONS = {
    "token-mean": Aggregation(_token_mean),
    "seq-mean-token-mean": Aggregation(_sequence_mean),
    "seq-mean-token-sum-norm": Aggregation(_budget_mean),
    "micro-batch-token-mean": Aggregation(_micro_batch_mean, micro_batched=True),
}
