"""What the Transformers engine samples at a time: tokens in flight, and logits of one sampling step."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aepo_rllib.rollout import Completion, Prompt, SamplingFilters
from aepo_rllib.rollout import wave as module
from aepo_rllib.rollout.transformers import TransformersEngine

NEW = 24


@pytest.fixture(scope="module")
def engine() -> TransformersEngine:
    return TransformersEngine.from_pretrained("embedded")


def prompts_of(*lengths: int, samples: int = 7) -> list[Prompt]:
    return [
        Prompt([5 + (place + slot) % 40 for place in range(length)], [(slot, sample) for sample in range(samples)], 1.2)
        for slot, length in enumerate(lengths)
    ]


def sample(engine: TransformersEngine, prompts: Sequence[Prompt], **options: Any) -> list[Completion]:
    return [*chain(*engine.generate(prompts, max_new_tokens=NEW, stop_ids=[1], **options))]


# --- Tokens in flight ---------------------------------------------------------------------------------------------


@given(
    groups=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 9)), max_size=12),
    bound=st.integers(1, 1000),
    pads=st.booleans(),
)
def test_waves_hold_every_completion_once_and_no_more_tokens_than_allowed(
    engine: TransformersEngine, groups: list[tuple[int, int]], bound: int, pads: bool
) -> None:
    prompts = [Prompt([3] * length, [(slot, n) for n in range(count)]) for slot, (length, count) in enumerate(groups)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "max_tokens_in_flight", bound)
        patch.setattr(engine, "_pads_prompts", pads)
        waves = [*engine._waves(prompts, NEW)]
    for wave in waves:
        lengths = {len(prompts[index].token_ids) for index, *_ in wave}
        assert len(wave) * (max(lengths) + NEW) <= bound or len(wave) == 1
        assert pads or len(lengths) == 1
    for index, prompt in enumerate(prompts):
        assert [key for place, _, key in chain(*waves) if place == index] == prompt.keys
    if pads and bound >= sum(count for _, count in groups) * (30 + NEW):
        assert len(waves) == any(count for _, count in groups)


@pytest.mark.parametrize("bound", [1, 100, 333, 2**18])
def test_the_model_never_sees_more_tokens_than_allowed_and_samples_the_same(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch, bound: int
) -> None:
    seen: list[tuple[int, int]] = []

    def watch(model: Any, arguments: Any, named: dict[str, Any]) -> None:
        rows, tokens = named["input_ids"].shape
        seen.append((rows, rows * (named["past_key_values"].get_seq_length() + tokens)))

    prompts = prompts_of(9, 3, 14, 3)
    expected = sample(engine, prompts)
    monkeypatch.setattr(engine, "max_tokens_in_flight", bound)
    hook = engine.model.register_forward_pre_hook(watch, with_kwargs=True)
    found = sample(engine, prompts)
    hook.remove()
    assert all(tokens <= bound or rows == 1 for rows, tokens in seen)
    assert max(rows for rows, _ in seen) == {1: 1, 100: 3, 333: 12, 2**18: 28}[bound]
    for left, right in zip(expected, found, strict=True):
        assert left.token_ids.tolist() == right.token_ids.tolist()
        np.testing.assert_allclose(left.policy_logp, right.policy_logp, atol=1e-4)


# --- Logits of one sampling step ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2, 5, 27])
@pytest.mark.parametrize("filters", [SamplingFilters(), SamplingFilters(top_k=20, top_p=0.9)], ids=str)
def test_a_sampling_step_in_slices_of_rows_is_the_same_to_the_last_bit(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch, filters: SamplingFilters, rows: int
) -> None:
    prompts = prompts_of(9, 3, 14, 3)
    expected = sample(engine, prompts, filters=filters)
    widths: list[int] = []
    law = module.sampling_law

    def watched(logits: torch.Tensor, *arguments: Any) -> torch.Tensor:
        widths.append(len(logits))
        return law(logits, *arguments)

    monkeypatch.setattr(module, "sampling_law", watched)
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", rows * engine.model.config.vocab_size)
    found = sample(engine, prompts, filters=filters)
    assert widths[0] == (14 if rows == 27 else rows), "28 rows, shared evenly"
    assert max(widths) <= rows
    for left, right in zip(expected, found, strict=True):
        for name in ("token_ids", "policy_logp", "behavior_logp", "entropy", "logit_variance"):
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name))


MEASURE = """
import re, torch
from transformers import LlamaConfig, LlamaForCausalLM
from aepo_rllib.rollout import Prompt, wave
from aepo_rllib.rollout.transformers import TransformersEngine
ROWS, VOCABULARY = 256, 151_936
torch.set_num_threads(1)
config = LlamaConfig(vocab_size=VOCABULARY, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                     num_attention_heads=1, num_key_value_heads=1)
engine = TransformersEngine(LlamaForCausalLM(config))
engine.generate([Prompt([3], [(0,), (1,)])], max_new_tokens=2, stop_ids=[])
def peak():  # of this process; getrusage starts with that of the process which has started it
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
for at_once in (2**24, 2**40):
    wave.LOGITS_AT_ONCE = at_once
    before = peak()
    engine.generate([Prompt([3], [(row,) for row in range(ROWS)])], max_new_tokens=1, stop_ids=[])
    after = peak()
    print((after - before) * 1024 / 4 / ROWS / VOCABULARY)  # how much higher the peak is, in copies of the logits
"""


@pytest.mark.process
def test_a_sampling_step_over_a_large_vocabulary_takes_a_small_multiple_of_its_logits() -> None:
    """256 rows of a vocabulary of 151,936 have 2.3 times the logits that are worked on at a time."""
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    sliced, whole = map(float, done.stdout.split())
    assert sliced < 3.5, "the logits themselves, and five times a third of them"
    assert sliced + whole > 5, "what is measured here is no sampling step"
