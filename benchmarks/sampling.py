"""Completions per second of our engine and of Hugging Face's `generate`, in one process, one thread, in turns.

    taskset -c 0 python benchmarks/sampling.py

Held equal: model, float32, the prompts and their number of completions, T = 1 without filters, the limit of new
tokens, one torch thread, inference mode. Each method draws its own random numbers.

Not equal: `generate` returns token ids alone; ours also returns log-prob, entropy and logit variance of every token.
Both stop a row at EOS, but `generate` keeps finished rows in the batch and feeds them padding until the last row has
ended, while ours drops them and runs each distinct prompt once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from workload import MODEL, Workload

from aepo_rllib.envs.prompts import get_template
from aepo_rllib.models.hf import load_model, load_tokenizer, stop_ids
from aepo_rllib.models.prompting import PromptEncoder
from aepo_rllib.rollout import Prompt, make_engine


class Sample(NamedTuple):
    """What one call took and brought."""

    seconds: float
    completions: int
    tokens: int


def prompt_ids(work: Workload) -> list[list[int]]:
    template = get_template("plain")
    encoder = PromptEncoder(load_tokenizer(MODEL), template)
    return [encoder.encode(template.render(problem.text)) for problem in work.problems(1)]


def our_engine(work: Workload) -> Callable[[int], Sample]:
    engine = make_engine("transformers", MODEL)
    stops, prompts = stop_ids(MODEL, load_tokenizer(MODEL)), prompt_ids(work)

    def sample(repeat: int) -> Sample:
        requests = [
            Prompt(ids, [(work.seed, repeat, slot, place) for place in range(work.group_size)])
            for slot, ids in enumerate(prompts)
        ]
        started = time.perf_counter()
        groups = engine.generate(requests, max_new_tokens=work.max_new_tokens, stop_ids=stops)
        seconds = time.perf_counter() - started
        completions = [completion for group in groups for completion in group]
        return Sample(seconds, len(completions), sum(map(len, completions)))

    return sample


def hugging_face(work: Workload) -> Callable[[int], Sample]:
    model, tokenizer = load_model(MODEL).eval(), load_tokenizer(MODEL)
    rows = [ids for ids in prompt_ids(work) for _ in range(work.group_size)]
    batch = tokenizer.pad({"input_ids": rows}, padding_side="left", return_tensors="pt")
    stops = torch.tensor(stop_ids(MODEL, tokenizer))

    @torch.inference_mode()
    def sample(repeat: int) -> Sample:
        torch.manual_seed(repeat)
        started = time.perf_counter()
        ids = model.generate(
            **batch,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=work.max_new_tokens,
            eos_token_id=stops.tolist(),
            pad_token_id=tokenizer.pad_token_id,
        )
        seconds = time.perf_counter() - started
        ended = torch.isin(ids[:, batch["input_ids"].shape[1] :], stops)
        after_end = ended.cumsum(1) - ended.long() > 0
        return Sample(seconds, len(ids), int((~after_end).sum()))

    return sample


def measure(work: Workload, repeats: int) -> dict[str, float]:
    methods = {"ours": our_engine(work), "generate": hugging_face(work)}
    samples: dict[str, list[Sample]] = {name: [] for name in methods}
    for repeat in range(repeats + 1):  # the first is a warm-up
        for name, method in methods.items():
            samples[name].append(method(repeat))
    figures: dict[str, float] = {"rows": work.completions}
    for name, calls in samples.items():
        figures[f"{name}_per_second"] = work.completions / statistics.median(call.seconds for call in calls[1:])
        figures[f"{name}_tokens"] = sum(call.tokens for call in calls[1:]) / sum(call.completions for call in calls[1:])
    pairs = zip(samples["generate"][1:], samples["ours"][1:], strict=True)
    ratios = [theirs.seconds / ours.seconds for theirs, ours in pairs]
    return figures | {"ratio": statistics.median(ratios), "ratio_low": min(ratios), "ratio_high": max(ratios)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--prompts", type=int, nargs="+", default=[16, 128])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps([measure(Workload(prompts=count), arguments.repeats) for count in arguments.prompts]))


if __name__ == "__main__":
    main()
