"""Peak memory and time of the output head, all logits at once against a slice of tokens at a time.

    python benchmarks/head.py [--vocabulary 151936] [--width 896] [--tokens 1024 2048 8192] [--dtype float32]

Every form runs in a process of its own. Memory is what the process grows by beyond weight, hidden states and
their gradients; at once only where that is below --most-gb.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import torch

from aepo_rllib.objectives.chunked_head import head_statistics
from aepo_rllib.objectives.entropy import token_statistics

READS = ("entropy",)
AT_ONCE_BYTES = 28
"""Per token and vocabulary entry, roughly."""


def measure(form: str, tokens: int, width: int, vocabulary: int, dtype: torch.dtype) -> dict[str, float]:
    """Seconds and growth of one forward and backward pass, log-probs and entropies read."""
    torch.manual_seed(0)
    hidden = torch.randn(tokens, width, dtype=dtype).requires_grad_()
    weight = (torch.randn(vocabulary, width) * 0.05).to(dtype).requires_grad_()
    ids = torch.randint(vocabulary, (tokens,))
    weight.grad, hidden.grad = torch.zeros_like(weight), torch.zeros_like(hidden)
    run(form, hidden[:2], weight, ids[:2])
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    run(form, hidden, weight, ids)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return {"gb": round(grown / 1e9, 3), "cpu_seconds": round(time.process_time() - started, 1)}


def run(form: str, hidden: torch.Tensor, weight: torch.Tensor, ids: torch.Tensor) -> None:
    if form == "in slices":
        statistics = head_statistics(hidden, weight, None, ids, READS)
    else:
        statistics = token_statistics(hidden @ weight.T, ids, READS)
    assert statistics.entropy is not None
    (statistics.logp - 0.01 * statistics.entropy).sum().backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--width", type=int, default=896)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1024, 2048, 8192])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--most-gb", type=float, default=10.0)
    parser.add_argument("--form", choices=["in slices", "at once"], help="measure one form, in this process")
    given = parser.parse_args()
    if given.form:
        dtype = getattr(torch, given.dtype)
        print(json.dumps(measure(given.form, given.tokens[0], given.width, given.vocabulary, dtype)))
        return
    for tokens in given.tokens:
        for form in ("in slices", "at once"):
            if form == "at once" and tokens * given.vocabulary * AT_ONCE_BYTES > given.most_gb * 1e9:
                continue
            command = [sys.executable, __file__, "--form", form, "--tokens", str(tokens), "--dtype", given.dtype]
            command += ["--width", str(given.width), "--vocabulary", str(given.vocabulary)]
            found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
            print(
                f"{tokens:>6} tokens, {form:>9}: {found['gb']:6.3f} GB, {found['cpu_seconds']:6.1f} CPU seconds",
                flush=True,
            )


if __name__ == "__main__":
    main()
