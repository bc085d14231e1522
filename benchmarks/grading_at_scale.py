"""Time and memory of grading and statistics for stored samples: 30 x 1024 and 500 x 1024 texts of 4,000 characters.

    python benchmarks/grading_at_scale.py

Problems, answers and texts are made up: integers, fractions, surds, tuples; a few per cent of the wrong answers are
spelled so that only algebra can tell. Sampling is not part of it; `aepo regrade` is what is measured, in a process of
its own, and its peak memory is that of the process and its grading workers together.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from aepo_rllib.eval.data import docs_digest
from aepo_rllib.eval.sampling.decoding import Decoding
from aepo_rllib.eval.sampling.lazy_texts import SampledText
from aepo_rllib.eval.sampling.requests import BLOCK
from aepo_rllib.eval.sampling.sample_files import Place, SampleFile, prompt_key
from aepo_rllib.eval.spec import SAMPLES_FOLDER, EvaluationSpec
from aepo_rllib.eval.suites.loading import load_tasks

N, TEXT_CHARS = 1024, 4000
SIZES = {"aepo_aime24": 30, "aepo_math500": 500}
IDENTITY = {
    "model": "made up",
    "engine": "transformers",
    "dtype": "float32",
    "frame": "none",
    "system": None,
    "stop_ids": [0],
    "seed": 0,
}
FILLER = "We consider the expression step by step, and find that it holds for every case.\n\n"


def main() -> None:
    figures = {}
    for suite, problems in SIZES.items():
        with tempfile.TemporaryDirectory() as scratch:
            figures[f"{problems} x {N}"] = measure(Path(scratch), suite, problems)
            print(json.dumps({f"{problems} x {N}": figures[f"{problems} x {N}"]}), flush=True)
    file = Path(__file__).parent / "results" / "grading_at_scale.json"
    file.write_text(json.dumps({"cores": len(os.sched_getaffinity(0)), "figures": figures}, indent=2) + "\n")


def measure(scratch: Path, suite: str, problems: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    golds = [made_up_answer(rng) for _ in range(problems)]
    rows = [{"id": f"p{i}", "problem": f"Made-up problem {i}.", "answer": gold} for i, gold in enumerate(golds)]
    (scratch / f"{suite.removeprefix('aepo_')}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.environ["AEPO_DATA_DIR"] = str(scratch)
    spec = EvaluationSpec(model="made up", suites=(suite,), n=N, identity=IDENTITY, first_prompts={suite: "made up"})
    task = load_tasks(spec)["tasks"][suite]
    spec = replace(spec, problems={suite: docs_digest(task.test_docs())})
    spec.write(scratch / "out")
    (scratch / "out" / SAMPLES_FOLDER).mkdir()
    law = spec.identity | Decoding.from_kwargs(task.config.generation_kwargs).law()
    store = SampleFile(scratch / "out" / SAMPLES_FOLDER, law)
    answers = [sampled_answers(gold, rng) for gold in golds]
    prompts = [prompt_key(task.doc_to_text(doc)) for doc in task.test_docs()]
    for first in range(0, N, BLOCK):
        for prompt, given in zip(prompts, answers, strict=True):
            store.add(
                (Place(prompt, i), SampledText(text(given[i], i), tokens=TEXT_CHARS // 4, truncated=False))
                for i in range(first, first + BLOCK)
            )
    distinct = sum(len(set(given)) for given in answers)
    started = time.perf_counter()
    peak = run_and_watch([sys.executable, "-m", "aepo_rllib.cli.main", "regrade", str(scratch / "out")])
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "peak_gib": round(peak / 2**30, 2),
        "distinct_answers": distinct,
        "store_gib": round(store.path.stat().st_size / 2**30, 2),
    }


def made_up_answer(rng: np.random.Generator) -> str:
    a, b, c = (int(value) for value in rng.integers(2, 60, size=3))
    return [
        str(a * b),
        rf"\frac{{{a}}}{{{b}}}",
        rf"{a}\sqrt{{{b}}}",
        rf"\left({a}, {b}\right)",
        rf"\frac{{{a}\pi}}{{{c}}}",
    ][int(rng.choice(5, p=[0.6, 0.15, 0.1, 0.1, 0.05]))]


def sampled_answers(gold: str, rng: np.random.Generator) -> list[str]:
    """Correct ones in some spellings; wrong ones from a long-tailed list; a few none at all."""
    wrong = [made_up_answer(rng) for _ in range(120)]
    spellings = [gold, gold.replace(r"\frac", r"\dfrac"), f"${gold}$", gold.replace(" ", "")]
    accuracy, weights = rng.beta(0.5, 0.7), 1 / np.arange(1, 121)
    kinds = rng.random(N)
    picks = rng.choice(120, size=N, p=weights / weights.sum())
    return [
        "" if kind > 0.97 else spellings[pick % 4] if kind < 0.97 * accuracy else wrong[pick]
        for kind, pick in zip(kinds, picks, strict=True)
    ]


def text(answer: str, number: int) -> str:
    body = (FILLER * (TEXT_CHARS // len(FILLER) + 1))[number % 80 : TEXT_CHARS]
    return f"{body}\n\n\\boxed{{{answer}}}." if answer else body


def run_and_watch(command: list[str]) -> int:
    """Peak resident memory of a command and its children, in bytes."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            peak = max(peak, sum(map(resident, family(process.pid))))
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    watcher.join()
    if code:
        raise SystemExit(f"{command} ended with {code}")
    return peak


def family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(relative for child in children for relative in family(int(child)))]


def resident(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS")), 0)


if __name__ == "__main__":
    main()
