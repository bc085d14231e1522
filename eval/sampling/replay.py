"""`ReplayLM`: answers lm-eval's requests from a sample store alone."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from aepo_rllib.eval.sampling.decoding import Decoding
from aepo_rllib.eval.sampling.lazy_texts import MissingSample
from aepo_rllib.eval.sampling.requests import read_requests
from aepo_rllib.eval.sampling.sample_files import SampleFile, StoreError, store_file


class ReplayLM(LM):
    """A model that has said all it will ever say.

    Args:
        store: Folder of the sample store.
        identity: Of the model that sampled (`SamplingLM.identity`).
    """

    def __init__(self, store: Path, identity: Mapping[str, Any]) -> None:
        super().__init__()
        self.store, self.law = store, dict(identity)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The stored samples, and a `MissingSample` for each that was never drawn.

        Raises:
            aepo_rllib.eval.sampling.sample_files.StoreError: the store is damaged, or holds no sample at all of some
                task: then samples were lost, or never begun, and undefined scores are no answer.
            OSError: it cannot be read.
        """
        asked, missing = read_requests(requests), MissingSample()
        found: list[str] = []
        drawn: set[str] = set()
        for decoding, questions in groupby(asked, key=lambda question: question.decoding):
            samples = SampleFile(self.store, self.law | decoding.law(), read_only=True)
            for question in questions:
                texts = [samples.get(place) or missing for place in question.places]
                found += texts
                drawn |= {question.task} if any(text is not missing for text in texts) else set()
        if lost := {question.task: question.decoding for question in asked if question.task not in drawn}:
            raise StoreError("; ".join(self._no_samples(task, decoding) for task, decoding in lost.items()))
        return found

    def _no_samples(self, task: str, decoding: Decoding) -> str:
        file = store_file(self.store, self.law | decoding.law())
        what = f"{file} holds" if file.is_file() else f"{file} is not there: {self.store} holds"
        return f"{what} no sample of {task}; the same `aepo eval` draws them"

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Refused."""
        raise NotImplementedError("a store holds texts only")

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Refused."""
        raise NotImplementedError("a store holds texts only")
