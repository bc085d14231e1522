"""Problems weigh less the more they are solved: the weight, whose completions count, and what is learned from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from aepo_rllib import AEPOConfig, GRPOConfig, metrics
from aepo_rllib.algorithms import ALGORITHMS
from aepo_rllib.experience.groups import Groups, problem_of
from aepo_rllib.experience.rows import Row
from aepo_rllib.experience.solved import Count, SolvedGate, left_at
from aepo_rllib.objectives.parts import MAIN, Term, Tokens, term_values
from tests.support.small_runs import small, weights


def groups(**right: str) -> Any:
    """A group for every problem: r right, w wrong, u not judged."""
    episodes = [[SimpleNamespace(get_infos=lambda _, name=name: {"problem_id": name})] * 4 for name in right]
    marks = [[*each] for each in right.values()]
    rewards = torch.tensor([[float(mark == "r") for mark in each] for each in marks])
    return SimpleNamespace(
        episodes_PG=episodes, rewards_PG=rewards, usable_PG=torch.tensor([[mark != "u" for mark in m] for m in marks])
    )


@pytest.mark.parametrize(("right", "judged", "k"), [(0, 8, 16), (1, 8, 16), (3, 8, 256), (8, 8, 4), (2, 5, 1)])
def test_what_is_left_is_the_posterior_mean_of_the_slope_of_pass_at_k(right: int, judged: int, k: int) -> None:
    p = (np.arange(400_000) + 0.5) / 400_000

    def slope(m: int) -> float:
        posterior = p**m * (1 - p) ** (judged - m)
        return float((posterior * k * (1 - p) ** (k - 1)).sum() / posterior.sum())

    assert left_at(Count(right, judged), k) == pytest.approx(slope(right) / slope(0), rel=1e-4)


def test_whose_completions_count() -> None:
    found = {}
    for by in ("batch", "history", "both"):
        gate = SolvedGate(0.25, None, by)
        for drawn in (groups(a="rrww", b="wwww"), groups(a="wwww", b="rrww", c="rwuu", d="rwww")):
            gate.begin()
            gate.see(drawn)
        found[by] = [gate.weight(problem) for problem in "abcde"]
    assert found == {
        "batch": [1.0, 0.0, 0.0, 1.0, 1.0],  # of c one of two judged is right, of d no more than a quarter
        "history": [0.0, 1.0, 1.0, 1.0, 1.0],
        "both": [1.0, 1.0, 0.0, 1.0, 1.0],  # of a and b two of eight
    }


def test_a_state_that_was_taken_does_not_change_with_the_gate() -> None:
    gate = SolvedGate(0.0, None, "both")
    gate.see(groups(a="rwww"))
    state = gate.get_state()
    gate.begin()
    gate.see(groups(a="rrrr", b="rrrr"))
    again = SolvedGate(0.0, None, "both")
    again.set_state(state)
    assert (again.weight("a"), again.weight("b"), again.batch["a"]) == (0.0, 1.0, Count(1, 4))


def homogeneous() -> list[Any]:
    """Every method's terms that read advantages; one adds a bonus that does not go with their size."""
    terms = [(name, term) for name, cls in ALGORITHMS.items() for term in cls().method().terms.values()]
    return [pytest.param(term, id=name) for name, term in terms if name != "entropy_adv" and not term.needs_all_rows]


@pytest.mark.parametrize("term", homogeneous())
def test_a_weighed_advantage_is_a_weighed_row(term: Term) -> None:
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(6, 5, dtype=torch.bool)
    draws = [torch.randn(6, 5, generator=generator).abs() for _ in range(6)]
    logp = (-draws[0]).requires_grad_()
    tempered = (-draws[1]).requires_grad_()
    advantage = torch.randn(6, 1, generator=generator).expand(6, 5)
    tokens = Tokens(logp, -draws[2], advantage, mask, draws[3], -draws[4], -draws[5], draws[3], tempered)
    weight_B1, row_B1 = torch.tensor([[0.0], [1.0], [0.3], [0.5], [0.0], [0.9]]), torch.rand(6, 1, generator=generator)

    def gradient(given: Tokens, by: torch.Tensor) -> list[torch.Tensor]:
        found = torch.autograd.grad(term_values({"x": term}, given, by)["x"], (logp, tempered), allow_unused=True)
        return [torch.zeros(6, 5) if part is None else part for part in found]

    weighed = gradient(tokens._replace(advantage=advantage * weight_B1), row_B1)
    torch.testing.assert_close(weighed, gradient(tokens, row_B1 * weight_B1))
    assert any(part.any() for part in weighed)


def watched(algo: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], list[Groups]]:
    """Batches as they are learned from, and groups as they were sampled."""
    batches, sampled, take = [], [], algo._take_steps

    def taking(batch: Any) -> Any:
        batches.append(batch)
        return take(batch)

    monkeypatch.setattr(algo, "_take_steps", taking)
    algo.on_episodes = lambda purpose, drawn: sampled.append((purpose.name, drawn)) if purpose.learned else None
    return batches, sampled


@pytest.mark.usefixtures("ray_cluster")
def test_solved_problems_have_no_advantage_in_any_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    algo = small(AEPOConfig(), solved_gate=0.0, evaluation_interval=None).build_algo()
    batches, sampled = watched(algo, monkeypatch)
    result = algo.train()
    drawn = dict(sampled)
    solved = {problem_of(g[0]) for g in drawn[MAIN].episodes_PG if any(episode.get_return() > 0 for episode in g)}
    rewarded = {
        problem_of(g[0]) for g in drawn["tempered"].episodes_PG if any(episode.get_return() > 0 for episode in g)
    }
    learned = {
        name: {row.problem_id for group in rows for row in group if row.has_advantage}
        for name, rows in batches[0].streams.items()
    }
    assert solved
    assert learned == {MAIN: set(), "tempered": rewarded - solved}
    share = sum(problem_of(g[0]) in solved for g in drawn[MAIN].episodes_PG) / len(drawn[MAIN])
    assert float(result[MAIN][metrics.GATED_SHARE]) == pytest.approx(share)
    assert float(result[MAIN][metrics.GATE_WEIGHT]) == pytest.approx(1 - share)
    algo.stop()


@pytest.mark.usefixtures("ray_cluster")
def test_a_run_goes_on_with_its_counts_and_a_step_that_fails_counts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(GRPOConfig(), solved_gate=0.0, solved_by="history", evaluation_interval=None)
    algo = config.problems(problems="arithmetic").build_algo()
    algo.train()
    state, counts = algo.get_state(), algo.gate.get_state()
    assert sum(count.judged for count in counts["batch"].values()) == 24

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no")

    with monkeypatch.context() as patched:
        patched.setattr(algo, "learn_rows", fail)
        with pytest.raises(RuntimeError, match="no"):
            algo.train()
    assert algo.gate.get_state() == counts
    algo.train()
    first, own = weights(algo), algo.own_state()
    algo.set_state(state)
    assert algo.gate.get_state() == counts
    algo.train()
    assert algo.own_state() == own
    for key, value in weights(algo).items():
        np.testing.assert_array_equal(value, first[key])
    algo.stop()


def test_rows_of_unknown_problems_are_left_as_they_are() -> None:
    gate = SolvedGate(0.0, 8)
    rows = [[Row([1], np.array([2]), np.zeros(1), 1.0, problem_id="new")], []]
    weighed, figures = gate.weighed(rows)
    assert weighed == rows
    assert figures == {metrics.GATED_SHARE: 0.0, metrics.GATE_WEIGHT: 1.0}
    assert gate.weighed([]) == ([], {})


@pytest.mark.parametrize(
    ("config", "given", "message"),
    [
        (GRPOConfig, {"solved_gate": 0.0}, "solved_gate=0.0 with solved_by='batch' leaves nothing to learn from"),
        (GRPOConfig, {"solved_by": "history"}, "solved_by='history' does nothing here"),
        (GRPOConfig, {"solved_gate": 1.0}, "solved_gate=1.0 must be"),
    ],
)
def test_gates_that_do_nothing_or_leave_nothing_are_refused(config: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config().evaluation(evaluation_interval=None).update_from_dict(given).validate()
