"""Losses are what they were before they were written as terms over streams: stored batches, dealt and weighted anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from aepo_rllib.algorithms import ALGORITHMS, GRPOConfig
from aepo_rllib.experience.dealing import Mean, deal
from aepo_rllib.experience.rows import Row, RowGroups, padded
from aepo_rllib.objectives.parts import Method, Tokens, term_values
from tests.support.goldens import golden_cases

TOLERANCE = 1e-9
CENTRED = "dr_grpo"
"""The method that was GRPO's `scale_by_std=False`."""


def config_of(case: dict[str, Any]) -> GRPOConfig:
    """The config with the case's settings."""
    settings = dict(case["settings"])
    name = case["method"] if settings.pop("scale_by_std", True) else CENTRED
    config = ALGORITHMS[name]().update_from_dict(settings)
    assert isinstance(config, GRPOConfig)
    return config


def row_of(stored: dict[str, Any], stream: int) -> Row:
    completion, old_logp = np.array(stored["completion"]), np.array(stored["old_logp"])
    return Row(stored["prompt"], completion, old_logp, stored["advantage"], stream, problem_id=str(stored["row"]))


def streams_of(case: dict[str, Any], method: Method) -> dict[str, RowGroups]:
    """The case's rows, by the streams of the method."""
    return {
        name: [[row_of(stored, place) for stored in group] for group in groups]
        for place, (name, groups) in enumerate(zip(method.streams, case["streams"], strict=False))
    }


def tensor_of(values: list[Any]) -> torch.Tensor:
    return torch.from_numpy(padded(values, np.float64))


def values_and_gradients(
    method: Method, rows: list[Row], logps: dict[str, Any]
) -> tuple[dict[str, float], list[list[float]]]:
    """The value of every term on a learner's rows, and the gradient on the log-probs of each row."""
    values: dict[str, float] = {}
    gradients: dict[str, list[float]] = {}
    for place, stream in enumerate(method.streams):
        terms, own = method.terms_of(stream), [row for row in rows if row.stream == place]
        if not own:
            values |= dict.fromkeys(terms, 0.0)
            continue
        columns = [index for index, name in enumerate(method.terms) if name in terms]
        tokens = Tokens(
            tensor_of([logps[row.problem_id] for row in own]).requires_grad_(),
            tensor_of([row.policy_logp for row in own]),
            tensor_of([np.broadcast_to(row.advantage, len(row.completion_ids)) for row in own]),
            tensor_of([np.ones(len(row.completion_ids)) for row in own]).bool(),
        )
        weight_BK = torch.tensor([row.weights for row in own], dtype=torch.float64)[:, columns]
        found = term_values(terms, tokens, weight_BK)
        [gradient_BT] = torch.autograd.grad(torch.stack(list(found.values())).sum(), tokens.logp)
        values |= {name: value.item() for name, value in found.items()}
        for row, gradient_T in zip(own, gradient_BT, strict=True):
            gradients[row.problem_id] = gradient_T[: len(row.completion_ids)].tolist()
    return values, [gradients[row.problem_id] for row in rows]


@pytest.mark.parametrize("case", golden_cases("stored_batches"))
def test_loss_terms_and_gradients_are_those_of_the_version_before(case: dict[str, Any]) -> None:
    config = config_of(case)
    method, mean = config.method(), Mean(config.aggregation, config.max_new_tokens, config.micro_batch_size)
    logps = {str(row["row"]): row["logp"] for groups in case["streams"] for group in groups for row in group}
    steps = deal(
        streams_of(case, method),
        method,
        mean,
        updates=case["updates"],
        learners=case["learners"],
        skip_flat_rows=config.skip_flat_rows,
    )
    assert [len(shares) for shares in steps] == [case["learners"]] * case["updates"]
    for shares, stored_shares in zip(steps, case["steps"], strict=True):
        for rows, stored in zip(shares, stored_shares, strict=True):
            assert [int(row.problem_id) for row in rows] == stored["rows"]
            values, gradients = values_and_gradients(method, rows, logps)
            assert sum(values.values()) == pytest.approx(stored["loss"], abs=TOLERANCE)
            # A term that nothing reads was computed then, and is not there now.
            for name, value in stored["terms"].items():
                assert values.get(name, 0.0) == pytest.approx(value, abs=TOLERANCE)
            for gradient, expected in zip(gradients, stored["gradient"], strict=True):
                np.testing.assert_allclose(gradient, expected, atol=TOLERANCE)
