"""Passes: every row in one, none beyond the limit, equally many for all learners, and few tokens of padding."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepo_rllib.columns import Columns
from aepo_rllib.experience.passes import PassLimit, cut_rows, passes_of
from aepo_rllib.experience.rows import EMPTY, Row, columns_of


def row(prompt: int, prompt_tokens: int, tokens: int) -> Row:
    return Row([prompt] * prompt_tokens, np.arange(tokens), np.zeros(tokens, np.float32), 1.0)


groups = st.lists(
    st.tuples(st.integers(1, 9), st.lists(st.integers(1, 30), min_size=1, max_size=5)), min_size=0, max_size=6
).map(lambda made: [row(n, prompt, tokens) for n, (prompt, lengths) in enumerate(made) for tokens in lengths])
limits = st.builds(
    PassLimit,
    rows=st.none() | st.integers(1, 6),
    tokens=st.none() | st.integers(1, 90),
    share_prompts=st.booleans(),
)


def tokens_through_the_model(rows: list[Row], *, shared: bool) -> int:
    """By the shapes of the batch itself."""
    columns = columns_of(rows)
    prompts = len(np.unique(columns[Columns.PROMPT_INDEX])) if shared else len(rows)
    return prompts * columns[Columns.PROMPT_IDS].shape[1] + columns[Columns.COMPLETION_IDS].size


@given(rows=groups, limit=limits)
def test_every_row_goes_through_once_and_only_a_lone_one_exceeds_the_limit(rows: list[Row], limit: PassLimit) -> None:
    passes = cut_rows(rows, limit)
    assert sorted(id(row) for part in passes for row in part) == sorted(map(id, rows))
    place = {id(row): number for number, row in enumerate(rows)}
    for part in passes:
        assert part == sorted(part, key=lambda row: place[id(row)])
        assert limit.rows is None or len(part) <= limit.rows
        sent = tokens_through_the_model(part, shared=limit.share_prompts)
        assert len(part) == 1 or limit.tokens is None or sent <= limit.tokens


@given(shares=st.lists(groups, min_size=1, max_size=4), limit=limits)
def test_all_learners_take_equally_many_passes_and_none_is_empty(shares: list[list[Row]], limit: PassLimit) -> None:
    dealt = passes_of(shares, limit)
    assert len({len(passes) for passes in dealt}) == 1
    assert dealt[0]
    for passes, rows in zip(dealt, shares, strict=True):
        assert all(passes)
        assert sorted(id(row) for part in passes for row in part if row is not EMPTY) == sorted(map(id, rows))


def test_rows_of_like_length_go_together_where_padding_would_cost_more_than_prompts() -> None:
    rows = [row(prompt, 2, tokens) for prompt in range(3) for tokens in (4, 40)]
    passes = cut_rows(rows, PassLimit(tokens=3 * 42))
    assert sorted([len(row.completion_ids) for row in part] for part in passes) == [[4, 4, 4], [40, 40, 40]]


def test_groups_stay_together_where_their_prompt_is_worth_it() -> None:
    rows = [row(prompt, 50, tokens) for prompt in range(3) for tokens in (9, 10)]
    passes = cut_rows(rows, PassLimit(tokens=80))
    assert [len({tuple(row.prompt_ids) for row in part}) for part in passes] == [1, 1, 1]
    assert all(len(part) == 2 for part in passes)


@given(rows=groups.filter(bool), tokens=st.integers(20, 90))
def test_no_simple_order_sends_fewer_tokens(rows: list[Row], tokens: int) -> None:
    """Neither neighbours as they come, as many as fit, nor the same by length; half as many more are allowed for."""
    limit = PassLimit(tokens=tokens)

    def sent(parts: list[list[Row]]) -> int:
        return sum(tokens_through_the_model(part, shared=True) for part in parts)

    def filled(ordered: list[Row]) -> int:
        parts: list[list[Row]] = [[]]
        for each in ordered:
            if parts[-1] and sent([[*parts[-1], each]]) > tokens:
                parts.append([])
            parts[-1].append(each)
        return sent(parts)

    found = sent(cut_rows(rows, limit))
    simple = min(filled(rows), filled(sorted(rows, key=lambda row: len(row.completion_ids))))
    assert found <= 1.5 * simple


@pytest.mark.parametrize("size", [1, 3, 100])
def test_by_rows_alone_neighbours_stay_neighbours(size: int) -> None:
    rows = [row(number // 2, 3, 5 + number) for number in range(7)]
    passes = cut_rows(rows, PassLimit(rows=size))
    assert [row for part in passes for row in part] == rows
    assert [len(part) for part in passes] == [len([*part]) for _, part in groupby(range(7), key=lambda n: n // size)]
