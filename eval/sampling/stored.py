"""`StoredLM`: answers lm-eval's requests from a sample store alone."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from aepo_rllib.eval.sampling.requests import collect
from aepo_rllib.eval.sampling.samples import MissingSample
from aepo_rllib.eval.sampling.store import SampleFile


class StoredLM(LM):
    """A model that has said all it will ever say.

    Args:
        store: Folder of the sample store.
        identity: Of the model that sampled (`SamplingLM.identity`).
    """

    def __init__(self, store: Path, identity: Mapping[str, Any]) -> None:
        super().__init__()
        self.store, self.law = store, dict(identity)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The stored samples, and a `MissingSample` for each that was never drawn."""
        found: list[str] = []
        for decoding, questions in groupby(collect(requests), key=lambda question: question.decoding):
            samples = SampleFile(self.store, self.law | decoding.law(), read_only=True)
            found += [samples.get(place) or MissingSample() for asked in questions for place in asked.places]
        return found

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Refused."""
        raise NotImplementedError("a store holds texts only")

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Refused."""
        raise NotImplementedError("a store holds texts only")
