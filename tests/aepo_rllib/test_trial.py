"""Methods that break the contract are refused by validation, before anything starts; those of the table are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from aepo_rllib.algorithms import ALGORITHMS
from aepo_rllib.algorithms.grpo import GRPO, GRPOConfig
from aepo_rllib.objectives.advantages import Graded, centred
from aepo_rllib.objectives.losses import clipped, reinforce
from aepo_rllib.objectives.parts import Method, Stream, Term, Tokens, reads
from aepo_rllib.objectives.trial import check_method
from aepo_rllib.support.options import option

RESERVED = frozenset({"control"})


def of(loss: Any = reinforce, advantage: Any = centred, name: str = "main", **term: Any) -> Callable[[], Method]:
    return lambda: Method({"main": Stream(advantage)}, {name: Term(loss, **term)})


def select(function: Callable[[Tokens], Any]) -> Any:
    return lambda tokens, generator: function(tokens)


@reads("old_logp")
def mean_of_rows(t: Tokens) -> torch.Tensor:
    return (t.logp - t.logp.mean()) * t.advantage


def ratio_unread(t: Tokens) -> torch.Tensor:
    return -(t.logp - t.old_logp).exp() * t.advantage


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_method_of_the_table_passes(name: str) -> None:
    check_method(ALGORITHMS[name]().method, RESERVED)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: None, "has to return a Method"),
        (of(mean_of_rows), "depend on the rows beside it"),
        (of(ratio_unread), "has to be named by @reads"),
        (of(lambda t: t.entropy * 2), "has to be named by @reads"),
        (of(lambda t: t.logp.mean()), "gives (), and must give a tensor of the shape of its input, (7, 5)"),
        (of(lambda t: t.logp.sum(1, keepdim=True)), "gives (7, 1)"),
        (of(lambda t: t.logp.sum(0)), "gives (5,)"),
        (of(lambda t: t.logp / 0 * 0), "not finite"),
        (of(lambda t: torch.rand(t.logp.shape)), "depend on the rows beside it"),
        (lambda: of(lambda t: t.logp * torch.rand(()).item())(), "loss of term 'main'"),
        (of(advantage=lambda g: g.rewards_PG.mean(1)), "advantage of stream 'main' gives (3,)"),
        (of(advantage=lambda g: g.rewards_PG.tolist()), "gives list"),
        (of(advantage=lambda g: g.rewards_PG / 0), "not finite"),
        (of(select=select(lambda t: t.logp.new_ones(7, 6))), "selection of term 'main' gives (7, 6)"),
        (of(select=select(lambda t: t.logp * 1.0)), "learn the opposite"),
        (of(select=lambda t: t.logp), "selection of term 'main' cannot be computed"),
        (of(coefficient=float("nan")), "coefficient=nan must be a finite number"),
        (of(aggregation="tokenmean"), "unknown aggregation 'tokenmean'"),
        (of(name="a b/c"), "term 'a b/c': its name must be an identifier"),
        (lambda: Method({"main": Stream(centred, share=3.0)}, {"main": Term(clipped)}), "share=3.0 must be above 0"),
        (lambda: Method({"main": Stream(centred), "control": Stream(centred)}, {"main": Term(clipped)}), "'control'"),
    ],
)
def test_a_part_that_breaks_its_contract_is_refused(make: Callable[[], Any], complaint: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is looked at below
        check_method(make, RESERVED)
    assert complaint in str(caught.value)


def test_validation_tries_the_method() -> None:
    class Broken(GRPOConfig):
        def method(self) -> Method:
            return of(mean_of_rows)()

    with pytest.raises(ValueError, match="depend on the rows beside it"):
        Broken().validate()


def test_a_body_sets_defaults_of_rllibs_options_too() -> None:
    class Slow(GRPOConfig):
        lr, grad_clip, clip_high = 1e-6, 0.5, 0.28

    class Slower(Slow):
        lr = 1e-7
        strength: float = option(1, "Whole by default, and not always.")

    config = Slower()
    assert (config.lr, config.grad_clip, config.clip_high, Slow().lr) == (1e-7, 0.5, 0.28, 1e-6)
    config.training(strength=0.5, lr=1e-5).validate()
    assert config.copy().lr == 1e-5


def with_body(**body: Any) -> Callable[[], type]:
    return lambda: type("MineConfig", (GRPOConfig,), {"__module__": __name__, **body})


@pytest.mark.parametrize(
    ("define", "complaint"),
    [
        (with_body(clip_hihg=0.28), "MineConfig.clip_hihg = 0.28 is no option; did you mean clip_high"),
        (with_body(lr=option(1e-6, "Learning rate.")), "MineConfig.lr: RLlib or a base has that name"),
        (with_body(problems=option(3, "How many.")), "MineConfig.problems: RLlib or a base has that name"),
        (with_body(training_step=lambda self: None), "a training step belongs to the algorithm"),
        (lambda: type("Mine", (GRPO,), {"Config": GRPOConfig}), "Mine.Config = GRPOConfig is the config of GRPO"),
    ],
)
def test_what_a_class_body_cannot_mean_is_refused(define: Callable[[], type], complaint: str) -> None:
    with pytest.raises(TypeError) as caught:
        define()
    assert complaint in str(caught.value)
    assert GRPOConfig.Algo is GRPO


def test_graded_rewards_of_a_trial_have_all_that_an_advantage_may_read() -> None:
    def reading(groups: Graded) -> torch.Tensor:
        assert groups.lengths_PG is not None
        assert groups.log_importance_PG is not None
        return groups.rewards_PG * groups.lengths_PG

    check_method(of(advantage=reading), RESERVED)
