"""What docs/extending promises of methods and dials: a file of one's own, named where built-in ones are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ray import tune

from aepo_rllib import AEPOConfig
from aepo_rllib.algorithms import ALGORITHMS, find_config
from tests.support.command import SMALL, aepo, records, weights_hash
from tests.support.installed import install
from tests.support.small_runs import small, weights

ROOT = Path(__file__).parents[1]
METHOD = f"{ROOT}/examples/own_method.py:WeightedReinforceConfig"
DIAL = f"{ROOT}/examples/own_dial.py:PITemperature"


@pytest.mark.parametrize("name", ["method", "dial"])
def test_the_page_shows_the_example_and_fits_a_screen(name: str) -> None:
    page = (ROOT / "docs" / "extending" / f"{name}.md").read_text()
    code = (ROOT / "examples" / f"own_{name}.py").read_text()
    assert re.sub(r'^""".*?"""\n+', "", code, count=1, flags=re.DOTALL).strip() in page
    assert len(page.splitlines()) < 90


@pytest.mark.slow
@pytest.mark.process
def test_a_method_in_a_file_trains_and_resumes_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text((ROOT / "examples" / "own_method.py").read_text())
    options = [*SMALL, "--seed", "1", "--set", "positive_weight=0.5"]
    run = tmp_path / "run"
    begun = aepo("train", "--algo", "mine.py:WeightedReinforceConfig", *options, "--steps", 2, "-o", run, cwd=tmp_path)
    assert begun.returncode == 0, begun.stderr
    assert yaml.safe_load((run / "config.yaml").read_text())["positive_weight"] == 0.5
    first = weights_hash(run)
    resumed = aepo("train", "--resume", run, "--steps", 3)  # from another folder
    assert resumed.returncode == 0, resumed.stderr
    assert [record["step"] for record in records(run)] == [1, 2, 3]
    assert all(record["learner/loss_main"] != 0 for record in records(run))
    assert weights_hash(run) != first


SLOW = {"dr_grpo", "gspo", "aepo_signed"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW))
        for name in ("dr_grpo", "rloo", "gspo", "entropy_reg", "aepo_signed", "scope_rl")
    ],
)
def test_a_method_is_its_file_and_nothing_else(ray_cluster: None, name: str, tmp_path: Path) -> None:
    """The file of a built-in method, copied to a folder of the user's, trains to the same weights."""
    copied = tmp_path / "copied.py"
    copied.write_text((ROOT / "aepo_rllib" / "algorithms" / f"{name}.py").read_text())
    built_in = ALGORITHMS[name]
    own = find_config(f"{copied}:{built_in.__name__}")
    assert own is not built_in
    trained = []
    for config in (built_in, own):
        algo = small(config(), evaluation_interval=None).build_algo()
        assert type(algo) is config.Algo
        algo.train()
        trained.append({key: value.copy() for key, value in weights(algo).items()})
        algo.stop()
    for key, value in trained[0].items():
        np.testing.assert_array_equal(value, trained[1][key])


OWN_AEPO = """
from aepo_rllib.algorithms.aepo import AEPOConfig


class OwnConfig(AEPOConfig):
    lr = 1e-4
"""


@pytest.mark.slow
def test_remote_processes_find_a_method_and_a_dial_by_their_names(ray_cluster: None, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN_AEPO)
    layout = {"num_env_runners": 1, "num_learners": 2, "evaluation_interval": None}
    config = small(find_config(f"{tmp_path}/own.py:OwnConfig")(), controller=DIAL, tempered_share=1.0, **layout)
    algo = config.build_algo()
    result = algo.train()
    learned = result["learners"]["default_policy"]
    assert np.isfinite(float(learned["loss_main"]))
    assert float(learned["default_optimizer_learning_rate"]) == 1e-4
    assert 0.8 <= result["control"]["temperature"] <= 1.2
    algo.stop()


def test_a_dial_keeps_its_state_over_checkpoints_and_forgets_a_failed_step(ray_cluster: None, tmp_path: Path) -> None:
    config = small(
        AEPOConfig(),
        controller=DIAL,
        controller_options={"integral_gain": 0.3},
        target_entropy="1.1x",
        temperature_high=1.9,
        evaluation_interval=None,
    )
    algo = config.build_algo()
    algo.train()
    algo.save_to_path(tmp_path / "checkpoint")
    total = algo.dial_loop.dial.total
    assert total != 0
    second = float(algo.train()["control"]["temperature"])
    assert algo.dial_loop.dial.total != total
    again = config.copy(copy_frozen=False).build_algo()
    again.restore_from_path(tmp_path / "checkpoint")
    assert again.dial_loop.dial.total == total
    assert float(again.train()["control"]["temperature"]) == second
    state = again.own_state()
    again.on_episodes = lambda purpose, groups: 1 / (purpose.name != "tempered")  # after the dial has turned
    with pytest.raises(ZeroDivisionError):
        again.train()
    assert again.own_state() == state
    for each in (algo, again):
        each.stop()


ADAPTIVE = """
from dataclasses import dataclass

from aepo_rllib.algorithms.entropy_reg import EntropyRegConfig
from aepo_rllib.algorithms.grpo import GRPO
from aepo_rllib.control.dial_loop import DialLoop
from aepo_rllib.support.options import option


@dataclass
class Ramp:
    step: float
    value: float = 0.0
    bounds = (0.0, 1.0)

    def turn(self, entropy, target):
        self.value += self.step if entropy < target else -self.step
        return self.value

    def get_state(self):
        return {"value": self.value}

    def set_state(self, state):
        self.value = state["value"]


class AdaptiveConfig(EntropyRegConfig):
    target_entropy: float = option(5.0, "Nats per token.", above=0)
    coefficient_step: float = option(0.25, "What the coefficient moves by.", above=0)

    def dial_loop(self):
        return DialLoop(Ramp(self.coefficient_step), setting="coefficient")


class Adaptive(GRPO):
    Config = AdaptiveConfig

    def training_step(self):
        with self.step_frame():
            main = self.rollout("main", self.next_problems())
            coefficient = self.turn_dial(main.entropy(self.config.engine_entropy()))
            self.learn({"main": main}, coefficients={"entropy": -coefficient})
            self.sync_weights()
"""


def test_a_dial_turns_a_coefficient_from_step_to_step(ray_cluster: None, tmp_path: Path) -> None:
    (tmp_path / "adaptive.py").write_text(ADAPTIVE)
    config = small(find_config(f"{tmp_path}/adaptive.py:AdaptiveConfig")(), evaluation_interval=None)
    algo = config.training(lr=1e-9).build_algo()  # the policy stays as it is
    for step in (1, 2, 3):
        result = algo.train()
        assert float(result["control"]["coefficient"]) == 0.25 * step
        bonus = float(result["learners"]["default_policy"]["loss_entropy"])
        assert bonus == pytest.approx(-0.25 * step * float(result["main"]["exact_entropy"]), rel=2e-2)
        assert "temperature" not in result["control"]
    assert type(algo).__name__ == "Adaptive"
    algo.stop()


def test_tune_trains_the_method_and_not_its_base(ray_cluster: None, tmp_path: Path) -> None:
    own = find_config(METHOD)
    config = small(own(), evaluation_interval=None, positive_weight=0.0)
    results = tune.Tuner(
        own.Algo,
        param_space=config,
        run_config=tune.RunConfig(stop={"training_iteration": 1}, storage_path=str(tmp_path), verbose=0),
    ).fit()
    assert not results.errors
    # Without positive completions REINFORCE only pushes down: its loss, minus a mean of log-probs, is below 0.
    assert results[0].metrics["learners"]["default_policy"]["loss_main"] < 0


@pytest.mark.process
def test_installed_packages_offer_methods_and_dials_by_entry_points(tmp_path: Path) -> None:
    package = tmp_path / "acme"
    package.mkdir()
    for part in ("method", "dial"):
        (package / f"{part}.py").write_text((ROOT / "examples" / f"own_{part}.py").read_text())
    install(
        tmp_path,
        "acme",
        {
            "aepo_rllib.methods": {"weighted": "acme.method:WeightedReinforceConfig"},
            "aepo_rllib.dials": {"pi": "acme.dial:PITemperature"},
        },
    )
    environment: dict[str, Any] = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    code = (
        "from aepo_rllib.algorithms import find_config; from aepo_rllib import AEPOConfig;"
        "c = find_config('weighted')(); print(c.positive_weight);"
        "d = AEPOConfig().entropy_control(controller='pi', controller_options={'integral_gain': 0.4}); d.validate();"
        "print(d.dial().integral_gain)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0.1", "0.4"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"controller": "swich"}, "did you mean switch"),
        ({"controller": "no_such_module:Dial"}, "no_such_module"),
        ({"controller": f"{ROOT}/examples/own_dial.py:PIDTemperature"}, "did you mean PITemperature"),
        ({"controller": DIAL, "controller_options": {"gain": 1.0}}, "controller_options key 'gain'"),
        ({"controller": DIAL, "controller_options": {"integral_gain": "much"}}, "integral_gain"),
    ],
)
def test_a_dial_that_is_none_is_refused_before_anything_starts(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        AEPOConfig().update_from_dict(settings).validate()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gpro", "did you mean gspo or grpo"),
        (f"{ROOT}/examples/own_method.py:WeightedReinforce", "did you mean WeightedReinforceConfig"),
        (f"{ROOT}/examples/own_dial.py:PITemperature", "is no subclass of TextRLConfig"),
        ("nowhere.py:Config", "nowhere.py"),
    ],
)
def test_a_method_that_is_none_is_refused(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        find_config(name)
