"""Memory of a real pass, run as a process of its own: `python -m tests.support.pass_memory SHARED CHECKPOINT`.

Prints bytes forecast and bytes that the process grew by at most. Run it with MALLOC_MMAP_THRESHOLD_=1000000, or malloc
keeps what was freed.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from aepo_rllib.columns import Columns
from aepo_rllib.models.token_scorer import TokenScorer
from aepo_rllib.planning.fake_pass import Work, pass_bytes
from aepo_rllib.planning.shape import ModelShape
from tests.support.shapes import qwen

ROWS, PROMPT, LENGTH = 4, 100, 512


def batch(rows: int, prompt: int, length: int, vocabulary: int) -> dict[str, torch.Tensor]:
    """Rows of one prompt, without padding."""
    return {
        Columns.PROMPT_IDS: torch.randint(vocabulary, (1, prompt)).expand(rows, -1).contiguous(),
        Columns.PROMPT_MASK: torch.ones(rows, prompt, dtype=torch.bool),
        Columns.COMPLETION_IDS: torch.randint(vocabulary, (rows, length)),
        Columns.COMPLETION_MASK: torch.ones(rows, length, dtype=torch.bool),
        Columns.PROMPT_INDEX: torch.zeros(rows, dtype=torch.long),
    }


class Peak(threading.Thread):
    """Most bytes that are resident in this process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes, self._ended = 0, threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.002):
            self.bytes = max(self.bytes, resident())

    def stop(self) -> int:
        self._ended.set()
        self.join()
        return self.bytes


def resident() -> int:
    """Bytes of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main(share_prompts: bool, checkpoint: bool) -> None:
    """Forecast, then run."""
    torch.set_num_threads(1)
    config = qwen("0.5b", num_hidden_layers=4)
    work = Work(ROWS, 1, PROMPT, LENGTH, share_prompts=share_prompts, checkpoint=checkpoint)
    forecast = pass_bytes(ModelShape(config), work).peak
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight).add_(0.0)  # touched, so that it is there
    scorer = TokenScorer(model, share_prompts=share_prompts, checkpoint=checkpoint)
    scorer(batch(2, 4, 8, config.vocab_size), reads=())[Columns.POLICY_LOGP].sum().backward()
    given = batch(ROWS, PROMPT, LENGTH, config.vocab_size)
    gc.collect()
    before, peak = resident(), Peak()
    peak.start()
    scorer(given, reads=())[Columns.POLICY_LOGP].sum().backward()
    assert scorer.share_prompts == share_prompts
    print(json.dumps({"forecast": forecast, "measured": peak.stop() - before}))


if __name__ == "__main__":
    main(*(argument == "True" for argument in sys.argv[1:]))
