"""What `gpu.py` measures with: models from their shape alone, batches, counts of operations, clocks and memory."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen2Config

from aepo_rllib.columns import Columns

FIELDS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
SHAPES = {
    "tiny": ((64, 128, 2, 4, 2), 1000),
    "0.5b": ((896, 4864, 24, 14, 2), 151936),
    "1.5b": ((1536, 8960, 28, 12, 2), 151936),
}
"""Sizes and vocabulary of Qwen2.5, embeddings tied; "tiny" tries the script out."""
LOGIT_SPREAD = 4.5
"""Standard deviation of the random logits: an entropy of a few nats, where initial weights give a uniform policy."""
GIB = 2**30
Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Work:
    """How much is done.

    Attributes:
        device: "cuda" or "cpu".
        shapes: Names in `SHAPES`, the smaller first.
        prompts: Prompts of a step.
        group_size: Completions of each.
        prompt_tokens: Mean length; lengths are 3/4 to 5/4 of it.
        completion_tokens: Length of all completions of a step.
        new_tokens: Sampled by the engine for each of as many completions.
        rows: Tried numbers of rows for each backward pass.
        repeats: Timed optimizer steps, after one that is not.
    """

    device: str = "cuda"
    shapes: tuple[str, ...] = ("0.5b", "1.5b")
    prompts: int = 8
    group_size: int = 8
    prompt_tokens: int = 256
    completion_tokens: int = 512
    new_tokens: int = 256
    rows: tuple[int, ...] = (8, 16)
    repeats: int = 2


QUICK = Work("cpu", ("tiny",), 2, 4, 8, 16, 8, (4, 8), 1)


def build(shape: str, device: str) -> PreTrainedModel:
    """Random float32 weights, made where they stay."""
    sizes, vocabulary = SHAPES[shape]
    config = Qwen2Config(
        **dict(zip(FIELDS, sizes, strict=True)),
        vocab_size=vocabulary,
        tie_word_embeddings=True,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        model.lm_head.weight.normal_(std=LOGIT_SPREAD / math.sqrt(config.hidden_size))
        # With random signs, or the tied head would only repeat the token it has just read.
        model.model.norm.weight.copy_(torch.randn_like(model.model.norm.weight).sign())
    return model.eval()


def random_prompts(work: Work, vocabulary: int) -> list[list[int]]:
    """Token ids; lengths are spread evenly."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.linspace(0.75, 1.25, work.prompts).mul(work.prompt_tokens).long().tolist()
    return [torch.randint(vocabulary, (length,), generator=generator).tolist() for length in lengths]


def random_batch(work: Work, model: PreTrainedModel) -> Batch:
    """Groups of completions of one length."""
    vocabulary = model.config.vocab_size
    generator = torch.Generator().manual_seed(2)
    shape = (work.prompts * work.group_size, work.completion_tokens)
    completions = torch.randint(vocabulary, shape, generator=generator).tolist()
    return columns(random_prompts(work, vocabulary), completions, work.device)


def columns(prompts: Sequence[list[int]], completions: Sequence[list[int]], device: str) -> Batch:
    """A batch of equally many completions of every prompt."""
    index = [row * len(prompts) // len(completions) for row in range(len(completions))]
    width, length = max(map(len, prompts)), max(map(len, completions))
    batch = {
        Columns.PROMPT_IDS: [[0] * (width - len(prompts[i])) + prompts[i] for i in index],
        Columns.PROMPT_MASK: [[False] * (width - len(prompts[i])) + [True] * len(prompts[i]) for i in index],
        Columns.COMPLETION_IDS: [ids + [0] * (length - len(ids)) for ids in completions],
        Columns.COMPLETION_MASK: [[True] * len(ids) + [False] * (length - len(ids)) for ids in completions],
        Columns.PROMPT_INDEX: index,
    }
    return {name: torch.tensor(column, device=device) for name, column in batch.items()}


def rows_of(batch: Batch, rows: slice) -> Batch:
    return {name: column[rows] for name, column in batch.items()}


def training_flops(model: PreTrainedModel, batch: Batch, *, shared: bool) -> float:
    """Floating-point operations of forward and backward without padding, each matrix product at 2 a multiply-add."""
    config = model.config
    hidden, layers = config.hidden_size, config.num_hidden_layers
    key_value = hidden * config.num_key_value_heads // config.num_attention_heads
    weights = layers * hidden * (2 * hidden + 2 * key_value + 3 * config.intermediate_size)
    prompt_N, completion_N = (batch[name].sum(1).double() for name in (Columns.PROMPT_MASK, Columns.COMPLETION_MASK))
    _, of_row, sharers = batch[Columns.PROMPT_INDEX].unique(return_inverse=True, return_counts=True)
    passes_N = 1 / sharers[of_row].double() if shared else torch.ones_like(prompt_N)
    tokens = (passes_N * prompt_N + completion_N).sum()
    pairs = (passes_N * prompt_N.square() / 2 + completion_N * (prompt_N + completion_N / 2)).sum()
    head = completion_N.sum() * hidden * config.vocab_size
    return float(3 * 2 * (tokens * weights + head + 2 * layers * hidden * pairs))


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(device: str, action: Callable[[], Any], *, repeats: int = 3) -> float:
    """Median time of an action, after one that is not timed."""
    times = []
    for _ in range(repeats + 1):
        synchronize(device)
        start = time.perf_counter()
        action()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


class Memory:
    """Peak of what torch has allocated on the device, in bytes; None on the CPU, which does not tell."""

    def __init__(self, device: str) -> None:
        self.measured = device == "cuda"
        self.start = self.now()

    def now(self) -> int:
        """Starts the peak anew."""
        if not self.measured:
            return 0
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()

    def peak(self) -> int | None:
        return torch.cuda.max_memory_allocated() if self.measured else None

    def extra(self) -> int | None:
        """Above what was there at the start."""
        return torch.cuda.max_memory_allocated() - self.start if self.measured else None


def gib(size: int | None) -> float | None:
    return None if size is None else round(size / GIB, 3)


def slope(sizes: Sequence[int], found: Sequence[int | None]) -> float | None:
    """Growth for each unit of size, by least squares."""
    if any(value is None for value in found):
        return None
    mean_size, mean_found = statistics.mean(sizes), statistics.mean(found)
    covariance = sum((size - mean_size) * (value - mean_found) for size, value in zip(sizes, found, strict=True))
    return covariance / sum((size - mean_size) ** 2 for size in sizes)


@contextmanager
def cleared():
    """Whatever the block has allocated is given back after it."""
    try:
        yield
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
