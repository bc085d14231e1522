"""The dial: GRPO and AEPO for several entropy targets and seeds, ablations, and pass@k up to 1024.

    python benchmarks/dial/study.py                 # about 75 minutes on two cores
    python benchmarks/dial/study.py --report-only   # tables and plots again from what is on disk

Two runs at a time, one thread each. Interrupt it at will: the same command goes on where it was. Results go to
docs/dial/ (CSV files and plots) and into the tables of docs/dial.md.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import report
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from variants import VARIANTS, Run, evaluation_command, launch

DOCS = Path(__file__).parents[2] / "docs"
EVALUATED = ("GRPO", "AEPO 0.5x", "AEPO 1.0x, alpha 2", "AEPO 0.5x, alpha 2")
POLL_SECONDS = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--runs", type=Path, default=Path("runs/dial"), help="folder of the runs")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the results")
    parser.add_argument("--report-only", action="store_true", help="train and evaluate nothing")
    arguments = parser.parse_args()
    runs = [
        Run(variant, seed, arguments.steps, arguments.runs)
        for variant in VARIANTS
        for seed in (arguments.seeds[:1] if variant.group == "ablations" else arguments.seeds)
    ]
    base = arguments.runs / "base-evaluation"
    if not arguments.report_only:
        train_all(runs, arguments.jobs)
        evaluate_all([run for run in runs if run.variant.name in EVALUATED], base, arguments.jobs)
    report.write([run for run in runs if run.finished()], base, arguments.docs)


def train_all(runs: Sequence[Run], jobs: int) -> None:
    """Train what is not finished."""
    total = sum(run.steps for run in runs)
    with _progress("training steps", total, lambda: sum(min(run.steps_done(), run.steps) for run in runs)):
        _in_parallel(
            [lambda run=run: launch(run.train_command(), _log(run)) for run in runs if not run.finished()], jobs
        )


def evaluate_all(runs: Sequence[Run], base: Path, jobs: int) -> None:
    """Measure pass@k of the embedded model and of every run that has none yet."""
    pairs = [("embedded", base), *((str(run.folder), run.evaluation) for run in runs)]
    done = [output / "passk.json" for _, output in pairs]
    with _progress("evaluations", len(pairs), lambda: sum(file.is_file() for file in done)):
        _in_parallel(
            [
                lambda model=model, output=output: launch(
                    evaluation_command(model, output), output.with_name(f"{output.name}.log")
                )
                for (model, output), file in zip(pairs, done, strict=True)
                if not file.is_file()
            ],
            jobs,
        )


def _log(run: Run) -> Path:
    """Beside the run directory, which `aepo train` wants empty."""
    return run.folder.with_name(f"{run.folder.name}.log")


def _in_parallel(calls: Sequence[Callable[[], None]], jobs: int) -> None:
    with ThreadPoolExecutor(jobs) as pool:
        for future in [pool.submit(call) for call in calls]:
            future.result()


class _progress:
    """A bar that asks how much is done every few seconds."""

    def __init__(self, label: str, total: int, done: Callable[[], int]) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns)
        self._task = self._bar.add_task(label, total=total)
        self._done, self._ended = done, threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def _poll(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            self._bar.update(self._task, completed=self._done())

    def __enter__(self) -> None:
        self._bar.start()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._bar.update(self._task, completed=self._done())
        self._bar.stop()


if __name__ == "__main__":
    main()
