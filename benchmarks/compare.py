"""Runs both sides in turns and prints ratios; the figures go to results/grpo_vs_trl.json.

    python benchmarks/compare.py --trl-python PATH/TO/TRL/VENV/bin/python

    python benchmarks/compare.py --trl-python ... --only "TRL|all rows$" --millions 98 --prompts 4 --group-size 4

Every round runs every layout once, in an order that is reversed from round to round. A run's figure is its median
batch; ratios are formed within a round, so that a machine that slows down slows both sides down.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from memory import PeakMemory
from weight_updates import write_model
from workload import Workload

HERE = Path(__file__).parent
OURS, TRL, SAMPLING = HERE / "ours_grpo.py", HERE / "peers" / "trl_grpo.py", HERE / "sampling.py"
PARTS = ("generation", "grading", "learning", "rest")


class Layout(NamedTuple):
    """One way to run the job.

    Attributes:
        script: Which side.
        cores: Cores the whole process tree may use.
        threads: Torch threads of a process.
        options: Of the script.
    """

    script: Path
    cores: int
    threads: int = 1
    options: tuple[str, ...] = ()


LAYOUTS = {
    "TRL, 1 core, 1 thread": Layout(TRL, 1),
    "TRL, 2 cores, 1 thread": Layout(TRL, 2),
    "TRL, 2 cores, 2 threads": Layout(TRL, 2, threads=2),
    "ours, 1 core": Layout(OURS, 1),
    "ours, 1 core, all rows": Layout(OURS, 1, options=("--all-rows",)),
    "ours, 1 core, all rows, padded": Layout(OURS, 1, options=("--all-rows", "--padded")),
    "ours, 2 cores, 2 env runners": Layout(OURS, 2, options=("--env-runners", "2")),
    "ours, 2 cores, 2 learners": Layout(OURS, 2, options=("--learners", "2")),
    "ours, 2 cores, 2 env runners + 2 learners": Layout(OURS, 2, options=("--env-runners", "2", "--learners", "2")),
    "ours, 2 cores, async": Layout(OURS, 2, options=("--env-runners", "1", "--async-steps", "1")),
    "ours, 2 cores, async, all rows": Layout(
        OURS, 2, options=("--env-runners", "1", "--async-steps", "1", "--all-rows")
    ),
    "ours, 2 cores, 2 + 2, all rows": Layout(OURS, 2, options=("--env-runners", "2", "--learners", "2", "--all-rows")),
}


def launch(python: str, script: Path, cores: int, threads: int, options: list[str]) -> tuple[Any, PeakMemory]:
    """The JSON that a script printed last, and its memory.

    Raises:
        RuntimeError: the script failed; holds the end of its error output.
    """
    command = ["taskset", "-c", f"0-{cores - 1}", python, str(script), *options]
    environment = os.environ | {
        "PYTHONPATH": str(HERE),
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    process = subprocess.Popen(
        command, env=environment, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    memory = PeakMemory(process.pid)
    memory.start()
    out, err = process.communicate()
    memory.stop()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{err[-2000:]}")
    return json.loads(out.strip().splitlines()[-1]), memory


def measure(layout: Layout, python: str, steps: int, warmup: int, work: list[str]) -> dict[str, float]:
    """One run of a layout: medians over its batches, totals where a batch's share matters."""
    counts = ["--steps", str(steps), "--warmup", str(warmup), "--threads", str(layout.threads), *work]
    table, memory = launch(python, layout.script, layout.cores, layout.threads, [*counts, *layout.options])
    run = {name: statistics.median(values) for name, values in table.items()}
    run["tokens_per_completion"] = statistics.mean(table["tokens_per_completion"])
    run["reward"] = statistics.mean(table["reward"])
    run["completions_per_second"] = run["completions"] / run["step"]
    return run | {"root_rss_mib": memory.root_rss, "tree_pss_mib": memory.tree_pss}


def best(rounds: list[dict[str, dict[str, float]]], script: Path, cores: int) -> str:
    """The fastest layout of a side that trains as it would by default, by median over rounds, on up to `cores`."""
    names = [name for name in rounds[0] if LAYOUTS[name].script == script and LAYOUTS[name].cores <= cores]
    names = [name for name in names if "--all-rows" not in LAYOUTS[name].options]
    return min(names, key=lambda name: statistics.median(run[name]["step"] for run in rounds))


def summary(rounds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Medians over rounds, and TRL's step divided by each layout's: TRL on the same cores, at its best threads."""
    result = {}
    for name, first in rounds[0].items():
        reference = best(rounds, TRL, LAYOUTS[name].cores)
        ratios = [run[reference]["step"] / run[name]["step"] for run in rounds]
        row = {figure: statistics.median(run[name][figure] for run in rounds) for figure in first}
        result[name] = row | {"ratio": statistics.median(ratios), "ratio_low": min(ratios), "ratio_high": max(ratios)}
    return result


def as_markdown(rows: dict[str, dict[str, float]]) -> str:
    lines = [
        "| layout | s/step | completions/s | times TRL on these cores | generation / grading / learning / rest, ms | "
        "rows trained | tokens/completion | reward | peak PSS of the tree, MiB | peak RSS of the driver, MiB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        split = " / ".join(f"{1000 * row[part]:.0f}" for part in PARTS)
        lines.append(
            f"| {name} | {row['step']:.3f} | {row['completions_per_second']:.0f} | {row['ratio']:.2f} "
            f"({row['ratio_low']:.2f}-{row['ratio_high']:.2f}) | {split} | {row['trained_rows']:.0f} | "
            f"{row['tokens_per_completion']:.1f} | {row['reward']:.2f} | {row['tree_pss_mib']:.0f} | "
            f"{row['root_rss_mib']:.0f} |"
        )
    return "\n".join(lines)


def sampling_markdown(rows: list[dict[str, float]]) -> str:
    lines = [
        "| rows | ours, completions/s | `generate`, completions/s | ratio | tokens/completion, ours and `generate` |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        tokens = f"{row['ours_tokens']:.1f}, {row['generate_tokens']:.1f}"
        lines.append(
            f"| {row['rows']} | {row['ours_per_second']:.0f} | {row['generate_per_second']:.0f} | {row['ratio']:.2f} "
            f"({row['ratio_low']:.2f}-{row['ratio_high']:.2f}) | {tokens} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-python", required=True, help="interpreter with peers/requirements-trl.txt")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--only", default="", help="layouts whose name has this regular expression")
    parser.add_argument(
        "--millions", type=int, help="a random model of so many parameters, instead of the embedded one"
    )
    parser.add_argument("--prompts", type=int, default=Workload.prompts)
    parser.add_argument("--group-size", type=int, default=Workload.group_size)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "grpo_vs_trl.json")
    arguments = parser.parse_args()
    layouts = [name for name in LAYOUTS if re.search(arguments.only, name)]
    rounds: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        work = ["--prompts", str(arguments.prompts), "--group-size", str(arguments.group_size)]
        if arguments.millions:
            write_model(Path(folder), arguments.millions)
            work += ["--model", folder]
        for number in range(arguments.rounds):
            order = layouts if number % 2 == 0 else layouts[::-1]
            runs = {}
            for name in order:
                python = arguments.trl_python if LAYOUTS[name].script == TRL else sys.executable
                runs[name] = measure(LAYOUTS[name], python, arguments.steps, arguments.warmup, work)
                print(f"round {number + 1}, {name}: {runs[name]['step']:.3f} s/step", file=sys.stderr)
            rounds.append({name: runs[name] for name in layouts})
    sampling = [] if arguments.only else launch(sys.executable, SAMPLING, 1, 1, [])[0]
    rows = summary(rounds)
    record = {"cores": os.cpu_count(), "steps": arguments.steps, "summary": rows, "rounds": rounds}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(record | {"sampling": sampling}, indent=2) + "\n")
    print(as_markdown(rows), sampling_markdown(sampling), sep="\n\n")


if __name__ == "__main__":
    main()
