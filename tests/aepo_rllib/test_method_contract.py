"""What every method of the table has to be: each entry passes the same checks, whatever it samples and minimises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from aepo_rllib import metrics, metrics_page
from aepo_rllib.algorithms import ALGORITHMS
from aepo_rllib.cli.settings import RunSettings, build, resolved
from aepo_rllib.doctor import examine
from aepo_rllib.objectives.advantages import Graded
from aepo_rllib.objectives.parts import Method, Tokens, reads_of
from aepo_rllib.options_page import page_of
from tests.support.small_runs import small, weights

pytestmark = pytest.mark.usefixtures("ray_cluster")
SIZES: dict[str, dict[str, Any]] = {
    "aepo_authors": {"replace_rows": 5, "max_new_tokens": 64, "lr": 6e-4, "updates_per_batch": 2, "micro_batch_size": 3}
}
"""What a method with the sizes of a large model needs to run on a small one."""
OPTIONAL = ("entropy", "ref_logp", "heated_logp")


@pytest.fixture(scope="module", params=ALGORITHMS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def config(name: str) -> Any:
    return small(ALGORITHMS[name](), evaluation_interval=None, **SIZES.get(name, {}))


@pytest.fixture(scope="module")
def method(config: Any) -> Method:
    return config.method()


@pytest.fixture(scope="module")
def stepped(config: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The algorithm after a training step, and the step's result."""
    algo = config.build_algo()
    yield algo, algo.train()
    algo.stop()


def some_tokens(method: Method) -> Tokens:
    """Eight rows of up to five tokens with every figure there is."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(5) < torch.randint(1, 6, (8, 1), generator=generator)
    logp, old, ref, heated, advantage = (torch.randn(8, 5, generator=generator).abs() for _ in range(5))
    values = [torch.where(mask, x, 0.0) for x in (-logp, -old, advantage)]
    figures = [torch.where(mask, x, 0.0) for x in (logp, -ref, -heated)]
    return Tokens(*values, mask, *figures)


def test_a_training_step_learns(stepped: tuple[Any, dict[str, Any]], config: Any, method: Method) -> None:
    algo, result = stepped
    learned = result["learners"]["default_policy"]
    for term in method.terms:
        assert np.isfinite(float(learned[metrics.loss_of(term)])), term
    fresh = config.get_default_rl_module_spec().build().state_dict()
    moved = [np.abs(value - fresh[key].numpy()).max() for key, value in weights(algo).items()]
    assert 0 < max(moved) < 0.1


def test_the_first_ratio_of_a_batch_is_one(stepped: tuple[Any, dict[str, Any]]) -> None:
    _, result = stepped
    assert float(result[metrics.UPDATE][metrics.FIRST_RATIO_MAX_DEVIATION]) < 1e-3


def test_a_batch_has_one_gradient_however_it_is_split(name: str) -> None:
    findings = list(examine("embedded", method=ALGORITHMS[name], max_new_tokens=32))
    assert len(findings) == 4
    assert all(finding.fine for finding in findings), findings


def test_a_step_taken_again_from_its_state_is_the_same(stepped: tuple[Any, dict[str, Any]]) -> None:
    algo, _ = stepped
    state = algo.get_state()
    algo.train()
    first = {key: value.copy() for key, value in weights(algo).items()}
    own = algo.own_state()
    algo.set_state(state)
    assert any((first[key] != value).any() for key, value in weights(algo).items()), "nothing was learned"
    algo.train()
    for key, value in weights(algo).items():
        np.testing.assert_array_equal(value, first[key])
    assert algo.own_state() == own


def test_its_configuration_survives_yaml_and_tune(name: str, config: Any, method: Method) -> None:
    settings, again = build(resolved(RunSettings(algo=name), config.copy(copy_frozen=False)))
    assert settings.algo == name
    assert type(again) is type(config)
    tuned = type(config).Algo.get_default_config().update_from_dict(config.to_dict())
    for other in (again, tuned):
        assert type(other) is type(config)
        for key in config.declared():
            kept, given = getattr(other, key), getattr(config, key)
            assert (tuple(kept) if isinstance(kept, list) else kept) == given, key
        assert list(other.method().terms) == list(method.terms)


def test_it_says_what_it_is(name: str, method: Method) -> None:
    page = page_of(ALGORITHMS[name])
    assert len(page.title) > 20
    assert len(page.text) > 40, "its file says neither formula nor departures"
    documented = {line.key for line in (*metrics_page.DOCUMENTED, *metrics_page.OF_SOME_METHODS)}
    for stream in method.streams:
        assert f"{stream}/{metrics.REWARD_MEAN}" in documented
    for term in method.terms:
        assert f"{metrics.LEARNER}/{metrics.loss_of(term)}" in documented


def test_its_parts_need_no_more_than_they_read(method: Method) -> None:
    tokens = some_tokens(method)
    for name, term in method.terms.items():
        for part, rest in ((term.loss, ()), (term.select, (torch.Generator(),))):
            if part is None:
                continue
            own = tokens._replace(**{field: None for field in OPTIONAL if field not in reads_of(part)})
            assert part(own, *rest).shape == tokens.mask.shape, name
            for field in set(OPTIONAL) & reads_of(part):
                with pytest.raises((AssertionError, TypeError, AttributeError)):
                    part(own._replace(**{field: None}), *rest)


def test_a_loss_that_says_so_has_no_gradient_without_advantage(method: Method) -> None:
    for term in method.terms.values():
        tokens = some_tokens(method)
        logp = tokens.logp.clone().requires_grad_()
        entropy = tokens.entropy.clone().requires_grad_()
        flat = tokens._replace(logp=logp, entropy=entropy, advantage=torch.zeros_like(logp))
        gradients = torch.autograd.grad(term.loss(flat).sum(), (logp, entropy), allow_unused=True)
        silent = all(gradient is None or not gradient.any() for gradient in gradients)
        assert silent or term.needs_all_rows


def test_its_advantages_are_a_number_for_every_completion(method: Method) -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    usable = torch.tensor([[True, True, True, False], [True] * 4, [False] * 4])
    graded = Graded(rewards, usable, torch.full((3, 4), 5), torch.zeros(3, 4))
    for stream in method.streams.values():
        advantages = stream.advantage(graded)
        assert advantages.shape == rewards.shape
        assert torch.isfinite(advantages).all()
