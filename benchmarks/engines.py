"""Our two rollout engines and bare vLLM, in turns: tokens per second, peak memory, seconds of a weight update.

    python benchmarks/engines.py                      # on the CPU: the embedded model, and one of 98 M parameters
    python benchmarks/engines.py --shape qwen2.5-1.5b --dtype bfloat16 --output benchmarks/results/engines_gpu.json

The second is for a GPU, which is used wherever torch sees one. Bare vLLM is `vllm.LLM.generate` with native `n` on
the `LLM` object of our engine: the same settings, and outputs are left as they come. Ours runs with a seed for every
completion (the default), and without.

Held equal: the weights (random, but for the embedded model), dtype, prompts (random token ids, half to all of
`--prompt-tokens` long), completions per prompt, T = 1 without filters, the sampled token's log-prob, cores and threads
on the CPU. No token ends a completion, so each has exactly `--max-new-tokens` tokens. Every call has new prompts:
vLLM's prefix cache serves the completions of a group, never those of an earlier call.

Not equal: each method draws its own random numbers. The Transformers engine also returns entropy and logit variance of
every token. It takes up to 1,024 rows at a time, vLLM 256. As all completions are equally long, neither shows what it
gains when some end early.

Each engine has processes of its own, one a round, in turns. Within vLLM's process bare vLLM and ours take turns call by
call on the one engine, in rotated order, and shares are formed within a turn. An update is from a state dict of
CPU tensors. Memory is read before they are loaded: on the CPU the peak resident size of the process, on a GPU all that
is in use there. For vLLM it is largely a setting, since it reserves its cache at the start (1 GiB; on a GPU whatever
0.8 of its memory leaves beside the weights).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compare import HERE, launch
from transformers import AutoModelForCausalLM, Qwen2Config

from aepo_rllib.models.hf import load_model
from aepo_rllib.models.named_folder import EMBEDDED
from aepo_rllib.rollout import Prompt, RolloutEngine, make_engine

BUILD = "build"
ENGINES = ("transformers", "vllm")
BARE = "bare vLLM"
NAMES = {"transformers": "Transformers", "vllm": "vLLM", "unseeded": "vLLM, unseeded", BARE: BARE}
"""Methods, as the table shows them."""

SHAPE = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
SHAPES = {
    "100m": ((768, 2048, 12, 12, 2), {"vocab_size": 32768, "tie_word_embeddings": True}),
    "qwen2.5-1.5b": ((1536, 8960, 28, 12, 2), {"vocab_size": 151936, "tie_word_embeddings": True}),
    "qwen2.5-7b": ((3584, 18944, 28, 28, 4), {"vocab_size": 152064, "tie_word_embeddings": False}),
}
"""Made-up models of the Qwen2 architecture; the Qwen2.5 ones as published, but for the context."""
CONTEXT = 4096
TOKEN_IDS = (2, 64)
"""Prompts are drawn from these: in every vocabulary, and above the special tokens of the embedded model."""


def build(shape: str, dtype: str, folder: str) -> dict[str, float]:
    """Save the model of a shape; small random weights keep its logits near 0."""
    if shape == EMBEDDED:
        model = load_model(EMBEDDED, dtype=dtype)
    else:
        sizes, rest = SHAPES[shape]
        rope = {"rope_type": "default", "rope_theta": 1e6}
        config = Qwen2Config(
            **dict(zip(SHAPE, sizes, strict=True)), **rest, max_position_embeddings=CONTEXT, rope_parameters=rope
        )
        torch.manual_seed(0)
        with torch.device(device()):
            model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    model.save_pretrained(folder)
    return {"parameters": model.num_parameters()}


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def made_up_prompts(arguments: argparse.Namespace, turn: int, place: int) -> list[list[int]]:
    """Equal lengths in every place of a turn, other tokens."""
    lengths = np.random.default_rng(turn).integers(
        (arguments.prompt_tokens + 1) // 2, arguments.prompt_tokens + 1, size=arguments.prompts
    )
    rng = np.random.default_rng((turn, place))
    return [rng.integers(*TOKEN_IDS, size=length).tolist() for length in lengths]


def by_engine(engine: RolloutEngine, prompts: Sequence[list[int]], call: int, arguments: argparse.Namespace) -> int:
    """Complete prompts through the engine's interface; the number of sampled tokens."""
    requests = [
        Prompt(ids, [(call, slot, place) for place in range(arguments.group_size)]) for slot, ids in enumerate(prompts)
    ]
    groups = engine.generate(requests, max_new_tokens=arguments.max_new_tokens, stop_ids=())
    return sum(len(completion) for group in groups for completion in group)


def by_bare_vllm(llm: Any, prompts: Sequence[list[int]], arguments: argparse.Namespace) -> int:
    """The same by vLLM alone."""
    from vllm import SamplingParams

    params = SamplingParams(
        n=arguments.group_size,
        temperature=1.0,
        max_tokens=arguments.max_new_tokens,
        ignore_eos=True,
        logprobs=0,
        detokenize=False,
    )
    outputs = llm.generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False)
    return sum(len(sample.token_ids) for output in outputs for sample in output.outputs)


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One engine's figures, from this process: tokens per second of every method and call, memory, update.

    Raises:
        RuntimeError: completions ended early, so that the work was not equal.
    """
    engine = make_engine(name, arguments.model, dtype=arguments.dtype, device=device())
    methods = [name] if name == "transformers" else [BARE, "unseeded", "vllm"]
    rates: dict[str, list[float]] = {method: [] for method in methods}
    expected = arguments.prompts * arguments.group_size * arguments.max_new_tokens
    for call in range((arguments.calls + 1) * len(methods)):
        turn, place = divmod(call, len(methods))
        method = methods[(turn + place) % len(methods)]  # each goes first in its turn
        prompts = made_up_prompts(arguments, turn, place)
        started = time.perf_counter()
        if method == BARE:
            tokens = by_bare_vllm(engine._llm, prompts, arguments)
        else:
            engine.seeded = method == "vllm"
            tokens = by_engine(engine, prompts, call, arguments)
        rates[method].append(tokens / (time.perf_counter() - started))
        if tokens != expected:
            raise RuntimeError(f"{method} sampled {tokens} tokens, not {expected}")
    memory = peak_memory()
    warm = {method: values[1:] for method, values in rates.items()}  # the first call of each is a warm-up
    figures = {"rates": warm, "update_seconds": update_seconds(engine, arguments), **memory}
    engine.close()
    return figures


def update_seconds(engine: RolloutEngine, arguments: argparse.Namespace) -> float:
    weights = load_model(arguments.model, dtype=arguments.dtype).state_dict()
    seconds = []
    for version in range(1, arguments.calls + 2):  # the first is a warm-up
        started = time.perf_counter()
        engine.update_weights(weights, version=version)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def peak_memory() -> dict[str, float]:
    """In GiB. Not `ru_maxrss`, which a process inherits from the one that starts it."""
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()  # torch keeps what it once took, so this is the peak
        return {"peak_gib": (total - free) / 2**30, "peak_allocated_gib": torch.cuda.max_memory_allocated() / 2**30}
    peak_kib = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]
    return {"peak_gib": int(peak_kib) / 2**20}


def compare_engines(shape: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """All rounds with one model, each measurement in a fresh process."""
    cores = os.cpu_count() if torch.cuda.is_available() else arguments.threads
    rounds: list[dict[str, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as folder:

        def run(task: str) -> dict[str, Any]:
            options = [*sys.argv[1:], "--shape", shape, "--model", folder, "--task", task]
            return launch(sys.executable, Path(__file__).resolve(), cores, arguments.threads, options)[0]

        model = run(BUILD)
        for number in range(arguments.rounds):
            rounds.append({})
            for name in ENGINES if number % 2 == 0 else reversed(ENGINES):
                rounds[-1][name] = run(name)
                print(f"{shape}, round {number + 1}, {name}: {rounds[-1][name]['rates']}", file=sys.stderr)
    return model | {"summary": summary(rounds), "rounds": rounds}


def summary(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """By method: tokens per second and its share of bare vLLM's, medians and quartiles; medians of the rest."""
    result = {}
    for method in NAMES:
        name = method if method in ENGINES else "vllm"
        runs = [round_[name] for round_ in rounds]
        rates = [rate for run in runs for rate in run["rates"][method]]
        row = {figure: statistics.median(run[figure] for run in runs) for figure in runs[0] if figure != "rates"}
        row |= spread("tokens_per_second", rates)
        if name == "vllm":
            bare = [rate for run in runs for rate in run["rates"][BARE]]
            row |= spread("share", [ours / theirs for ours, theirs in zip(rates, bare, strict=True)])
        result[method] = row
    return result


def spread(figure: str, values: list[float]) -> dict[str, float]:
    low, high = np.quantile(values, [0.25, 0.75])
    return {figure: statistics.median(values), f"{figure}_low": float(low), f"{figure}_high": float(high)}


def as_markdown(models: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| model | engine | tokens/s (quartiles) | share of bare vLLM (quartiles) | update, s | peak, GiB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for shape, model in models.items():
        for method, row in model["summary"].items():
            share = f"{row['share']:.2f} ({row['share_low']:.2f}-{row['share_high']:.2f})" if "share" in row else "-"
            rate = f"{row['tokens_per_second']:,.0f}"
            rate += f" ({row['tokens_per_second_low']:,.0f}-{row['tokens_per_second_high']:,.0f})"
            lines.append(
                f"| {shape}, {model['parameters'] / 1e6:,.2f} M | {NAMES[method]} | {rate} | "
                f"{'1' if method == BARE else share} | {row['update_seconds']:.2g} | {row['peak_gib']:.2f} |"
            )
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", choices=[EMBEDDED, *SHAPES], default=[EMBEDDED, "100m"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--group-size", type=int, default=8, help="completions per prompt")
    parser.add_argument("--prompt-tokens", type=int, default=64, help="longest prompt")
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--calls", type=int, default=4, help="timed calls of every method in a round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2, help="torch threads; on the CPU also the cores of a process")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "engines.json")
    parser.add_argument("--task", choices=[BUILD, *ENGINES], help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    if arguments.task == BUILD:
        print(json.dumps(build(arguments.shape[0], arguments.dtype, arguments.model)))
    elif arguments.task:
        print(json.dumps(measure(arguments.task, arguments)))
    else:
        models = {shape: compare_engines(shape, arguments) for shape in arguments.shape}
        settings = {name: value for name, value in vars(arguments).items() if name not in ("task", "model", "output")}
        record = {"device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"}
        record |= {"cores": os.cpu_count(), "settings": settings, "models": models}
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(record, indent=2) + "\n")
        print(as_markdown(models))


if __name__ == "__main__":
    main()
