"""What every method of the table has to be: each entry passes the same checks, whatever it samples and minimises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from aepo_rllib import metrics, metrics_page
from aepo_rllib.algorithms import ALGORITHMS
from aepo_rllib.algorithms.aepo import AEPO
from aepo_rllib.algorithms.aepo_steady import AEPOSteadyConfig
from aepo_rllib.algorithms.clip_cov import ClipCovConfig
from aepo_rllib.algorithms.pass_at_k import PassAtKConfig
from aepo_rllib.cli.main import cli
from aepo_rllib.cli.settings import RunSettings, build, resolved
from aepo_rllib.control.steady import SteadyDial
from aepo_rllib.doctor import agreement as doctor
from aepo_rllib.learning.batches import LIVE_COLUMNS
from aepo_rllib.methods_page import command
from aepo_rllib.objectives.advantages import Graded
from aepo_rllib.objectives.parts import Method, Tokens, reads_of
from aepo_rllib.options_page import page_of
from tests.support.small_runs import small, weights

pytestmark = pytest.mark.usefixtures("ray_cluster")
SIZES: dict[str, dict[str, Any]] = {
    "aepo_authors": {
        "replace_rows": 5,
        "max_new_tokens": 64,
        "lr": 6e-4,
        "updates_per_batch": 2,
        "micro_batch_size": 3,
    },
    "pass_at_k": {"subset_size": 2},
    "pkpo": {"subset_size": 2},
}
"""What a method with the sizes of a large model needs to run on a small one."""


class AllCovarying(ClipCovConfig):
    """Without lots, which go by the order of the rows."""

    covarying_share, covariance_low = 1.0, 0.1


IN_ANY_ORDER = {"clip_cov": AllCovarying}
"""What stands for a method whose draws depend on how rows are ordered."""
OPTIONAL = ("entropy", "ref_logp", "heated_logp", "core_entropy", "tempered_logp")


@pytest.fixture(scope="module", params=ALGORITHMS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def sized(name: str) -> Any:
    return small(ALGORITHMS[name](), evaluation_interval=None, **SIZES.get(name, {}))


@pytest.fixture(scope="module")
def config(name: str) -> Any:
    return sized(name)


@pytest.fixture(scope="module")
def method(config: Any) -> Method:
    return config.method()


def slow_where_alike(others: Callable[[Any], Any]) -> list[Any]:
    """All methods; those whose terms read, choose and average as those of one before, in rows dealt alike, are slow.

    Args:
        others: What else of a config class has to be alike.
    """

    def written(part: Any) -> Any:
        return written(part.func) if isinstance(part, partial) else part

    seen, marked = set(), []
    for name, config in ALGORITHMS.items():
        terms = config().method().terms.values()
        parts = [(term.scored_reads, written(term.select), term.stream, term.needs_all_rows) for term in terms]
        kind = (*parts, others(config))
        marked.append(pytest.param(name, marks=[pytest.mark.slow] if kind in seen else []))
        seen.add(kind)
    return marked


@pytest.fixture(scope="module", params=slow_where_alike(lambda config: config.Algo.training_step))
def stepped(request: pytest.FixtureRequest) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The algorithm after a training step, and the step's result."""
    algo = sized(request.param).build_algo()
    yield algo, algo.train()
    algo.stop()


def some_tokens(method: Method) -> Tokens:
    """Eight rows of up to five tokens with every figure there is."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(5) < torch.randint(1, 6, (8, 1), generator=generator)
    draws = [torch.randn(8, 5, generator=generator).abs() for _ in range(7)]
    logp, old, ref, heated, advantage, core, tempered = draws
    values = [torch.where(mask, x, 0.0) for x in (-logp, -old, advantage)]
    figures = [torch.where(mask, x, 0.0) for x in (logp, -ref, -heated, core, -tempered)]
    return Tokens(*values, mask, *figures)


def test_a_training_step_learns(stepped: tuple[Any, dict[str, Any]]) -> None:
    algo, result = stepped
    learned = result["learners"]["default_policy"]
    for term in algo.config.method().terms:
        assert np.isfinite(float(learned[metrics.loss_of(term)])), term
    fresh = algo.config.get_default_rl_module_spec().build().state_dict()
    moved = [np.abs(value - fresh[key].numpy()).max() for key, value in weights(algo).items()]
    assert 0 < max(moved) < 0.1


def test_the_first_ratio_of_a_batch_is_one(stepped: tuple[Any, dict[str, Any]]) -> None:
    _, result = stepped
    assert float(result[metrics.UPDATE][metrics.FIRST_RATIO_MAX_DEVIATION]) < 1e-3


@pytest.mark.parametrize("name", slow_where_alike(lambda config: config().aggregation))
def test_a_batch_has_one_gradient_however_it_is_split(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Undivided, and among three learners in three passes each; test_doctor.py has all that lies between.

    Losses look at each row alone, or are refused: of methods that differ in formulas alone one has to show it.
    """
    monkeypatch.setattr(doctor, "LEARNERS", (1, 3))
    monkeypatch.setattr(doctor, "PASSES", (1, 3))
    method = IN_ANY_ORDER.get(name, ALGORITHMS[name])
    findings = list(doctor.examine("embedded", method=method, max_new_tokens=32))
    assert len(findings) == 3
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


@pytest.mark.parametrize("bases", [(PassAtKConfig, AEPOSteadyConfig), (AEPOSteadyConfig, PassAtKConfig)])
def test_two_methods_in_one_sample_and_learn_what_both_do(bases: Any) -> None:
    class Both(*bases):  # type: ignore[misc]
        pass

    assert Both.Algo.training_step is AEPO.training_step
    assert Both.Algo.Config is Both
    assert isinstance(Both.Algo.get_default_config(), Both)
    method = Both().method()
    assert method.streams.keys() == AEPOSteadyConfig().method().streams.keys()
    assert method.streams["main"].advantage.func is PassAtKConfig().advantage().func  # type: ignore[attr-defined]
    assert isinstance(Both().dial(), SteadyDial)


def test_its_command_is_accepted(name: str) -> None:
    said = CliRunner().invoke(cli, [*command(name).split()[1:], "--dry-run"])
    assert said.exit_code == 0, said.output


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
        live = {name: getattr(tokens, name).clone().requires_grad_() for name in LIVE_COLUMNS}
        flat = tokens._replace(logp=logp, **live, advantage=torch.zeros_like(logp))
        gradients = torch.autograd.grad(term.loss(flat).sum(), (logp, *live.values()), allow_unused=True)
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
