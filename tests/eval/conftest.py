import hashlib

import pytest
import torch

from aepo_rllib.envs import get_template, load_problems
from aepo_rllib.models.hf import load_tokenizer, stop_ids
from aepo_rllib.models.prompting import PromptEncoder
from aepo_rllib.rollout import Prompt, SamplingFilters, make_engine
from aepo_rllib.rollout.request import EVALUATION


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """One thread and no network: a lookup on the hub would be retried for most of a minute."""
    torch.set_num_threads(1)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="session")
def direct_samples():
    """Samples of the embedded model by hand: the documented key (seed, stream, digest of the prompt, number)."""
    tokenizer = load_tokenizer("embedded")
    encoder = PromptEncoder(tokenizer, get_template("plain"))
    engine = make_engine("transformers", "embedded")
    texts = [problem.text for problem in load_problems("arithmetic", split="test")]

    def sample(n, problems, seed, **filters):
        """(text, finish reason) of n samples of every problem."""
        prompts = [
            Prompt(
                encoder.encode(texts[i]),
                [(seed, EVALUATION.number, _digest(texts[i]), number) for number in range(n)],
            )
            for i in problems
        ]
        groups = engine.generate(
            prompts,
            max_new_tokens=64,
            stop_ids=stop_ids("embedded", tokenizer),
            filters=SamplingFilters(**filters),
        )
        return [(encoder.decode(c.token_ids), c.finish_reason) for group in groups for c in group]

    return sample


def _digest(text):
    return int(hashlib.sha256(f"0\n{text}".encode()).hexdigest()[:16], 16)
