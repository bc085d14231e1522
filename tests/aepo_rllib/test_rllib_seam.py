"""RLlib's private names are in one file, and another Ray is told there."""

from __future__ import annotations

import ast
import functools
import os
import re
from importlib import import_module
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.bc import BCConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.actor_manager import FaultTolerantActorManager
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from ray.tune.registry import register_env

from aepo_rllib import rllib_seam

ROOT = Path(__file__).parents[2]
RAYS = (
    *(Algorithm, AlgorithmConfig, EnvRunner, EnvRunnerGroup, FaultTolerantActorManager, LearnerGroup),
    *(MetricsLogger, SingleAgentEpisode, TorchLearner, TorchRLModule),
)
"""The classes of RLlib's whose objects pass through this package's hands."""
DOCUMENTED = {"_forward"}
"""Hooks that RLlib's documentation tells everybody to override."""
KNOW_NO_RAY = {"models", "objectives", "rollout"}
"""Rooms that hold no object of Ray's."""
PYTHONS = {"_abc_impl", "_asdict", "_fields", "_make", "_replace"}


def spelled(function):
    """Attributes and globals of a function's code, and of the functions inside it."""
    codes, names = [function.__code__], set()
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [each for each in code.co_consts if hasattr(each, "co_names")]
    return names


def private(names):
    return {name for name in names if re.match(r"_[a-z]", name)} - DOCUMENTED - PYTHONS


@functools.cache
def rays_names(cls):
    """The private names that a class of Ray's has, or whose code spells: what it sets on its instances is there."""
    names = set()
    for base in (base for base in cls.__mro__ if base.__module__.startswith("ray.")):
        names.update(vars(base))
        for member in vars(base).values():
            function = getattr(member, "__wrapped__", member)
            names.update(spelled(function) if hasattr(function, "__code__") else ())
    return private(names)


def sources():
    files = [file for room in ("aepo_rllib", "cli", "eval", "envs") for file in sorted((ROOT / room).rglob("*.py"))]
    assert len(files) > 100
    return [file for file in files if file.name != "rllib_seam.py" and file.parent.name not in KNOW_NO_RAY]


def faults_of(text):
    """Where a source takes something private from Ray, as (line, name).

    An attribute counts when Ray's classes have it and the file itself gives nothing that name.
    """
    tree, faults, own, attributes = ast.parse(text), [], set(), []
    known, options = set().union(*map(rays_names, RAYS)), private(vars(AlgorithmConfig()))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            taken = [alias.name for alias in node.names]
            paths = [f"{node.module}.{name}" for name in taken] if isinstance(node, ast.ImportFrom) else taken
            faults += [(node.lineno, path) for path in paths if re.match(r"ray\.(.*\.)?_[a-z]", path)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in options:
            faults.append((node.lineno, node.value))
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Attribute):
            mine = isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name) and node.value.id == "self"
            own.update({node.attr} if mine else ())
            attributes.append((node.lineno, node.attr))
    foreign = [(line, name) for line, name in attributes if name in known - own]
    return sorted(faults + foreign)


def test_no_other_file_takes_something_private_from_ray():
    faults = [(file.relative_to(ROOT), *fault) for file in sources() for fault in faults_of(file.read_text())]
    assert not faults, "\n".join(f"{file}:{line} {name} belongs into rllib_seam.py" for file, line, name in faults)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("from ray._private import worker", "ray._private.worker"),
        ("from ray.tune.registry import _global_registry", "ray.tune.registry._global_registry"),
        ("import ray._private.worker", "ray._private.worker"),
        ("group._worker_manager.set_actor_state(1, healthy=False)", "_worker_manager"),
        ("config._dont_auto_sync_env_runner_states = True", "_dont_auto_sync_env_runner_states"),
        ("getattr(config, '_learner_connector')", "_learner_connector"),
        ("learner._params", "_params"),
    ],
)
def test_the_scan_finds_what_it_looks_for(text, name):
    assert faults_of(f"import ray\n{text}\n") == [(2, name)]


def heirs():
    """Every class of ours with a base of Ray's."""
    for file in (file for file in sources() if file.is_relative_to(ROOT / "aepo_rllib")):
        if "ray.rllib" in file.read_text() or "rllib_seam" in file.read_text():
            module = import_module(".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
            for cls in vars(module).values():
                if isinstance(cls, type) and cls.__module__ == module.__name__ and rays_names(cls):
                    yield cls


def test_no_class_of_ours_names_something_as_its_base_in_ray_does():
    """Neither to override it nor by chance, which would break RLlib's own code without a word."""
    found = {}
    for cls in heirs():
        names = set(vars(cls)).union(*(spelled(each) for each in vars(cls).values() if hasattr(each, "__code__")))
        found[cls.__name__] = private(names) & rays_names(cls)
    assert len(found) >= 7, "the classes were not found"
    assert not {name: clash for name, clash in found.items() if clash}


def test_the_installed_ray_has_what_is_relied_on():
    assert rllib_seam.missing() == []


@pytest.mark.parametrize(
    ("owner", "name", "instead", "sentence"),
    [
        (
            FaultTolerantActorManager,
            "set_actor_state",
            None,
            "FaultTolerantActorManager.set_actor_state does not exist",
        ),
        (
            FaultTolerantActorManager,
            "set_actor_state",
            lambda self, runner, alive: None,
            r"\w+.set_actor_state does not take \(self, runner, healthy=\)",
        ),
        (
            AlgorithmConfig,
            "__init__",
            lambda self: None,
            "AlgorithmConfig._dont_auto_sync_env_runner_states does not exist",
        ),
        (ray.tune.registry, "_global_registry", None, "ray.tune.registry._global_registry does not exist"),
    ],
)
def test_another_ray_is_refused_with_a_sentence(monkeypatch, owner, name, instead, sentence):
    if instead is None:
        monkeypatch.delattr(owner, name)
    else:
        monkeypatch.setattr(owner, name, instead)
    with pytest.raises(ImportError, match=rf"^Ray 2\.\d+\.\d+ is not .*: {sentence}.* Install "):
        rllib_seam.check()


def test_a_hook_that_ray_calls_no_more_is_missed(monkeypatch):
    """Overriding it would do nothing, without a word."""
    for method in ("build", "_update", "add_module", "remove_module"):
        monkeypatch.setattr(TorchLearner, method, lambda self: None)
    assert rllib_seam.missing() == [
        f"TorchLearner.{hook} is not called any more"
        for hook in ("_uncompiled_update", "_make_modules_ddp_if_necessary")
    ]


class Fitting(rllib_seam.SteppingLearner):
    """Least squares of the module's first layer, so that the right gradient is known."""

    def optimizer_step(self, batch):
        self.forget_gradients()
        [weight, *_] = self.parameters()
        loss = (batch["target"] * weight.sum()).sum()
        loss.backward()
        self.seen = {ref: gradient.clone() for ref, gradient in self.gradients().items()}
        self.apply_gradients(self.postprocess_gradients(self.gradients()))
        return loss.detach()


@pytest.fixture(scope="module")
def group():
    space = gymnasium.spaces.Box(-1, 1, (3,))
    config = BCConfig().environment(observation_space=space, action_space=gymnasium.spaces.Discrete(2))
    config.training(learner_class=Fitting, lr=0.5).learners(num_learners=0)
    group = config.build_learner_group(spaces={DEFAULT_MODULE_ID: (space, gymnasium.spaces.Discrete(2))})
    yield group
    group.shutdown()


def test_rllib_takes_the_optimizer_step_that_a_stepping_learner_writes(group):
    [learner] = [result.get() for result in group.foreach_learner(lambda learner: learner)]
    weight = learner.parameters()[0]
    before = weight.detach().clone()
    target = np.array([1.0, 2.0], np.float32)
    batch = MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch({"target": target})}, env_steps=2)
    [result] = group.update(training_data=TrainingData(batch=batch), timesteps={})
    assert result[DEFAULT_MODULE_ID]["total_loss"].peek() == pytest.approx(3 * before.sum().item(), rel=1e-5)
    assert list(learner.seen) == [weight], "parameters without a gradient are left out"
    torch.testing.assert_close(learner.seen[weight], torch.full_like(weight, 3.0))
    torch.testing.assert_close(weight.detach(), before - 0.5 * torch.sign(before.new_ones(weight.shape)))
    learner.forget_gradients()
    assert learner.gradients() == {}
    assert learner.index == 0
    assert rllib_seam.healthy_learners(group) == len(group)


def test_the_registry_is_read_as_it_was_written():
    register_env("seam-test", lambda context: ("made of", context))
    assert rllib_seam.registered_env("seam-test")(7) == ("made of", 7)
    assert rllib_seam.registered_env("no such env") is None


def test_config_keys_are_rllibs_and_hidden_options_hold_what_was_set():
    assert [rllib_seam.attribute_of(key) for key in ("input", "lambda", "lr")] == ["input_", "lambda_", "lr"]
    config = AlgorithmConfig().training(train_batch_size_per_learner=7).rl_module(model_config={"a": 1})
    assert getattr(config, rllib_seam.HIDDEN_OPTIONS["train_batch_size_per_learner"]) == 7
    assert getattr(config, rllib_seam.HIDDEN_OPTIONS["model_config"]) == {"a": 1}
    assert rllib_seam.is_deprecated(config.explore) is False
    rllib_seam.send_no_connector_states(config)
    assert config._dont_auto_sync_env_runner_states is True


def test_a_cluster_of_this_process_shows_its_processes(ray_cluster):
    processes = rllib_seam.cluster_processes()
    assert set(processes) >= {"raylet", "gcs_server"}
    for pid in processes["raylet"] + processes["gcs_server"]:
        os.kill(pid, 0)
