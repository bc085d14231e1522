"""`TextLearnerGroup`: an RLlib learner group whose weights may be shared by its learners, and go out in 16 bits.

RLlib asks the first learner for the state of all. Where each has but a part, gathering is something that all of them do
together; and weights for env runners are no state that passes through here, but a handle to where they are.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pyarrow.fs
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_OPTIMIZER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from aepo_rllib.learning.optimizer_step import ask_all
from aepo_rllib.learning.shards import Digests
from aepo_rllib.learning.together import Together
from aepo_rllib.rllib_seam import asked_of_learners

PARTS, REST = "parts", "state.pkl"
POLL_S = 0.02


class TextLearnerGroup(LearnerGroup):
    """Of `CausalLMLearner`s."""

    _changed = False
    """Whether the weights are others than those of the model's files, which every engine has read itself."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._together = Together.take_over(self)

    @property
    def failures(self) -> dict[int, Exception]:
        """What remote learners have raised, or died of, by their numbers."""
        return self._together.failures if self._together else {}

    @override(LearnerGroup)
    def update(self, *args: Any, **kwargs: Any) -> Any:
        """As RLlib's."""
        self._changed = True
        return super().update(*args, **kwargs)

    @override(LearnerGroup)
    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        inference_only: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """As RLlib's, of weights that may be shared; for env runners (`inference_only`) a handle to the weights."""
        if inference_only:
            return {COMPONENT_LEARNER: self._for_engines()}
        if not self.config.sharded:
            return super().get_state(components, not_components=not_components, **kwargs)
        asked = asked_of_learners(self, components, not_components)
        if asked is None:
            return {}
        wanted, unwanted = asked

        def ask(learner: Any) -> Any:
            state = learner.get_state(wanted, not_components=unwanted, **kwargs)
            return None if learner.index else state

        return {COMPONENT_LEARNER: self._first(ask)}

    def _for_engines(self) -> dict[str, Any]:
        changed, runners = self._changed, self.config.num_env_runners or self.config.evaluation_num_env_runners
        live = self.is_local and not runners

        def ask(learner: Any) -> dict[str, Any]:
            state = {WEIGHTS_SEQ_NO: learner.weights_version}
            if changed:
                weights = learner.live_weights() if live else learner.stored_weights()
                state[COMPONENT_RL_MODULE] = {DEFAULT_MODULE_ID: weights}
            return state

        return self._first(ask)

    @override(LearnerGroup)
    def set_state(self, state: dict[str, Any]) -> None:
        """As RLlib's."""
        self._changed = True
        super().set_state(state)

    def begin_save(self, folder: Path) -> None:
        """Have learners write weights and moments, each its part, into a folder that all of them see.

        They go on when they have copied them; `saved` tells when all is written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        components = [COMPONENT_RL_MODULE, COMPONENT_OPTIMIZER]
        rest = self._first(lambda learner: (learner.get_state(not_components=components), learner.rates))
        (folder / REST).write_bytes(pickle.dumps(rest))
        ask_all(self, lambda learner: learner.begin_save(folder / PARTS))

    def begin_export(self, folder: Path, info: Mapping[str, Any]) -> None:
        """Likewise the weights alone, as a Hugging Face model directory."""
        ask_all(self, lambda learner: learner.begin_export(folder, info))

    def saved(self) -> Digests | None:
        """Size and SHA-256 of the parts by their names below the folder; None while learners are writing.

        Raises:
            Exception: a learner could not write.
        """
        if not all(ask_all(self, lambda learner: learner.written())):
            return None
        answers = ask_all(self, lambda learner: learner.take_digests())
        return {f"{PARTS}/{name}": digest for answer in answers for name, digest in answer.items()}

    @override(LearnerGroup)
    def save_to_path(self, path: str | Path | None = None, **kwargs: Any) -> str:
        """Write everything, and wait for it."""
        self.begin_save(Path(str(path)))
        self.wait()
        return str(path)

    def wait(self) -> Digests:
        """Wait until learners have written what they have begun; see `saved`."""
        while (digests := self.saved()) is None:
            time.sleep(POLL_S)
        return digests

    @override(LearnerGroup)
    def restore_from_path(
        self, path: str | Path, *, component: str | None = None, filesystem: Any = None, **kwargs: Any
    ) -> None:
        """Read what any number of learners has written.

        Raises:
            ValueError: a single component is asked for.
        """
        if component:
            raise ValueError(f"component={component!r}: learners are restored as a whole")
        if filesystem is None or isinstance(filesystem, pyarrow.fs.LocalFileSystem):
            self._restore(Path(str(path)))
            return
        with tempfile.TemporaryDirectory(prefix="aepo-checkpoint-") as here:
            pyarrow.fs.copy_files(str(path), here, source_filesystem=filesystem)
            self._restore(Path(here))

    def _restore(self, folder: Path) -> None:
        self._changed = True
        rest, rates = pickle.loads((folder / REST).read_bytes())

        def read(learner: Any) -> None:
            learner.load_part(folder / PARTS)
            learner.set_state(rest)
            learner.set_rates(rates)

        ask_all(self, read)

    def _first(self, ask: Any) -> Any:
        """The answer of learner 0, where all are asked."""
        return ask_all(self, ask)[0]
