"""The seam to RLlib: every name of Ray's that is not public and that this package needs, each in one place.

RLlib's hooks change between minor releases. `missing` compares what is relied on with the Ray that is installed, and
importing this file fails with its sentences, so that another Ray shows here and nowhere else. No other file spells a
private name of Ray's.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Mapping
from typing import Any

import ray
import torch
from ray._common import deprecation
from ray._private import worker
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import COMPONENT_LEARNER, DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.actor_manager import FaultTolerantActorManager
from ray.rllib.utils.annotations import override
from ray.rllib.utils.numpy import convert_to_numpy
from ray.tune import registry
from typing_extensions import Self

from aepo_rllib.support.relied_on import ReliedOn

HIDDEN_OPTIONS = {
    "train_batch_size_per_learner": "_train_batch_size_per_learner",
    "env_to_module_connector": "_env_to_module_connector",
    "module_to_env_connector": "_module_to_env_connector",
    "learner_connector": "_learner_connector",
    "model_config": "_model_config",
}
"""RLlib's options that its config keeps, as they were set, under other names than its users know them by."""


class SteppingLearner(TorchLearner):
    """A TorchLearner whose whole optimizer step is one method, `optimizer_step`."""

    @abc.abstractmethod
    def optimizer_step(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Take one optimizer step.

        Args:
            batch: This learner's share of the rows, on its device: columns (N, ...).

        Returns:
            The loss, a scalar without gradient; RLlib logs it.
        """

    @override(TorchLearner)
    def _uncompiled_update(self, batch: Mapping[str, Any], **kwargs: Any) -> tuple[Any, dict[str, torch.Tensor], Any]:
        return {}, {DEFAULT_MODULE_ID: self.optimizer_step(batch[DEFAULT_MODULE_ID])}, {}

    def place(self, module: MultiRLModule) -> None:
        """Bring a module that has just been built to this learner's device."""
        super()._map_module_to_device(module)

    def replicate(self) -> None:
        """Prepare the module for learning beside others, each with all weights; nothing for one learner alone."""
        super()._make_modules_ddp_if_necessary()

    @override(TorchLearner)
    def _map_module_to_device(self, module: MultiRLModule) -> None:
        self.place(module)

    @override(TorchLearner)
    def _make_modules_ddp_if_necessary(self) -> None:
        self.replicate()

    @override(TorchLearner)
    def _make_module(self) -> MultiRLModule:
        for spec in getattr(self._module_spec, "rl_module_specs", {}).values():
            if isinstance(spec.model_config, dict):
                spec.model_config = {**spec.model_config, "device": self.model_device()}
        return super()._make_module()

    def whole(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of which this learner may have but a part."""
        return tensor

    def own_part(self, tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Undo `whole`, for one of which this learner has as much as of another."""
        return tensor

    @override(TorchLearner)
    def _get_optimizer_state(self) -> dict[str, Any]:
        def told(name: str, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
            state = optimizer.state_dict()
            state["state"] = {place: _each(moments, self.whole) for place, moments in state["state"].items()}
            return {"module_id": self._optimizer_name_to_module[name], "state": convert_to_numpy(state)}

        return {name: told(name, optimizer) for name, optimizer in self._named_optimizers.items()}

    @override(TorchLearner)
    def _set_optimizer_state(self, state: dict[str, Any]) -> None:
        super()._set_optimizer_state(state)
        for weight, moments in self.optimizer.state.items():
            self.optimizer.state[weight] = _each(moments, functools.partial(self.own_part, like=weight))

    def model_device(self) -> str:
        """Where the weights of this learner's module are read to."""
        return str(self.device)

    @property
    def weights_version(self) -> int:
        """How often the weights have changed."""
        return self._weights_seq_no

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The only one."""
        [only] = self._named_optimizers.values()
        return only

    @override(Learner)
    def compute_loss_for_module(self, **kwargs: Any) -> torch.Tensor:
        """RLlib's place for a loss, which nobody asks here."""
        raise NotImplementedError(f"{type(self).__name__} computes its loss in optimizer_step")

    @property
    def index(self) -> int:
        """This learner's place in its group; 0 for one in the algorithm's own process."""
        return self._learner_index

    def parameters(self) -> list[torch.nn.Parameter]:
        """What the optimizer turns."""
        return list(self.get_parameters(self.module[DEFAULT_MODULE_ID]))

    def gradients(self) -> dict[Any, torch.Tensor]:
        """The gradients there are, as `postprocess_gradients` and `apply_gradients` take them."""
        return {self.get_param_ref(each): each.grad for each in self.parameters() if each.grad is not None}

    def forget_gradients(self) -> None:
        """Give the gradients' memory back; the next backward pass starts from none."""
        for parameter in self.parameters():
            parameter.grad = None


def _each(moments: Mapping[str, Any], change: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, Any]:
    return {name: change(value) if isinstance(value, torch.Tensor) else value for name, value in moments.items()}


class WaitingManager(FaultTolerantActorManager):
    """A manager of actors that waits for their answers in a method of its own, `wait`."""

    @classmethod
    def take_over(cls, group: LearnerGroup) -> Self | None:
        """Call the group's remote learners from now on; None for a learner in the algorithm's own process."""
        if group.is_local:
            return None
        learners, limit = group._worker_manager.actors().values(), group.config.max_requests_in_flight_per_learner
        group._worker_manager = manager = cls(list(learners), max_remote_requests_in_flight_per_actor=limit)
        return manager

    @abc.abstractmethod
    def wait(self, calls: Mapping[int, ray.ObjectRef]) -> None:
        """Wait until calls, by the actors' numbers, have come to an end, be it an answer or an error."""

    @override(FaultTolerantActorManager)
    def _fetch_result(self, *, timeout_seconds: float | None = None, **calls: Any) -> tuple[list[Any], Any]:
        if timeout_seconds is None:
            self.wait(dict(zip(calls["remote_actor_ids"], calls["remote_calls"], strict=True)))
        return super()._fetch_result(timeout_seconds=timeout_seconds, **calls)


def healthy_learners(group: LearnerGroup) -> int:
    """How many of the group's learner processes are alive: all, `len(group)`, unless some have died.

    (A learner in the algorithm's own process is no process of the group: its length is 0.)
    """
    return len(group) if group.is_local else group._worker_manager.num_healthy_actors()


def asked_of_learners(group: LearnerGroup, components: Any, not_components: Any) -> tuple[Any, Any] | None:
    """Which components of its learners' states `get_state` of a group asks for, and which not; None: of no learner."""
    if not group._check_component(COMPONENT_LEARNER, components, not_components):
        return None
    wanted, unwanted = (group._get_subcomponents(COMPONENT_LEARNER, each) for each in (components, not_components))
    return wanted, unwanted


def ask_no_more(group: EnvRunnerGroup, runner: int) -> None:
    """Take a remote env runner for lost until it has been restored.

    RLlib takes one that is only slow for a healthy one, and would queue the same request behind the last.

    Args:
        group: The env runners.
        runner: Its id in the group.
    """
    group._worker_manager.set_actor_state(runner, healthy=False)


def send_no_connector_states(config: AlgorithmConfig) -> None:
    """Have RLlib not fetch and send connector states around every step: env runners hold none."""
    config._dont_auto_sync_env_runner_states = True


def attribute_of(key: str) -> str:
    """The config's attribute behind a key of its dicts, which spell some differently ("input" for "input_")."""
    return AlgorithmConfig._translate_special_keys(key, warn_deprecated=False)


def is_deprecated(default: Any) -> bool:
    """Whether a default is RLlib's mark of an option of the past."""
    return default == deprecation.DEPRECATED_VALUE


def registered_env(name: str) -> Callable[..., Any] | None:
    """The creator under this name in Ray's registry (`ray.tune.register_env`); None where there is none."""
    if not registry._global_registry.contains(registry.ENV_CREATOR, name):
        return None
    return registry._global_registry.get(registry.ENV_CREATOR, name)


def cluster_processes() -> dict[str, list[int]]:
    """Process ids of the Ray cluster that this process has started, by what they are ("raylet", ...); none, none."""
    started = {} if worker._global_node is None else worker._global_node.all_processes
    return {name: [info.process.pid for info in infos] for name, infos in started.items()}


RELIED_ON = (
    ReliedOn(TorchLearner, "_uncompiled_update", ("self", "batch"), hook=True),
    ReliedOn(TorchLearner, "_map_module_to_device", ("self", "module"), hook=True),
    ReliedOn(TorchLearner, "_make_modules_ddp_if_necessary", ("self",), hook=True),
    ReliedOn(TorchLearner, "_make_module", ("self",), hook=True),
    ReliedOn(TorchLearner, "_get_optimizer_state", ("self",), hook=True),
    ReliedOn(TorchLearner, "_set_optimizer_state", ("self", "state"), hook=True),
    ReliedOn(Learner, "_optimizer_name_to_module"),
    ReliedOn(Learner, "_module_spec"),
    ReliedOn(Learner, "_named_optimizers"),
    ReliedOn(Learner, "_weights_seq_no"),
    ReliedOn(Learner, "_learner_index"),
    ReliedOn(RLModule, "_forward", ("self", "batch"), hook=True),
    ReliedOn(LearnerGroup, "_worker_manager"),
    ReliedOn(LearnerGroup, "_check_component", ("self", "name", "components", "not_components")),
    ReliedOn(LearnerGroup, "_get_subcomponents", ("self", "name", "components")),
    ReliedOn(EnvRunnerGroup, "_worker_manager"),
    ReliedOn(FaultTolerantActorManager, "num_healthy_actors", ("self",)),
    ReliedOn(
        FaultTolerantActorManager,
        "_fetch_result",
        ("self", "remote_actor_ids=", "remote_calls=", "tags=", "timeout_seconds="),
        hook=True,
    ),
    ReliedOn(FaultTolerantActorManager, "set_actor_state", ("self", "runner", "healthy=")),
    ReliedOn(AlgorithmConfig, "_dont_auto_sync_env_runner_states"),
    ReliedOn(Algorithm, "_dont_auto_sync_env_runner_states"),
    ReliedOn(AlgorithmConfig, "_translate_special_keys", ("key", "warn_deprecated=")),
    *(ReliedOn(AlgorithmConfig, name) for name in HIDDEN_OPTIONS.values()),
    ReliedOn(deprecation, "DEPRECATED_VALUE"),
    ReliedOn(registry, "ENV_CREATOR"),
    ReliedOn(registry, "_global_registry"),
    ReliedOn(worker, "_global_node"),
)
"""What `missing` looks for. (`_forward` is documented: every RLModule overrides it, and may spell it.)"""


def missing() -> list[str]:
    """What the installed Ray lacks of `RELIED_ON`: a sentence each."""
    return [lack for relied_on in RELIED_ON if (lack := relied_on.lack()) is not None]


def check() -> None:
    """Refuse a Ray that lacks something.

    Raises:
        ImportError: names it, and the cure.
    """
    if lacks := missing():
        raise ImportError(
            f"Ray {ray.__version__} is not the one this package was written for: {'; '.join(lacks)}. "
            'Install "ray[rllib,tune]>=2.60,<2.61", or adapt aepo_rllib/rllib_seam.py'
        )


check()
