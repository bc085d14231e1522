"""Forecasts of entropy against what trainings came to, over base models of unlike pre-training.

    python benchmarks/forecast/study.py                 # about 30 minutes on one core
    python benchmarks/forecast/study.py --report-only   # table and figure again from what is on disk

Makes the base models, forecasts each (`aepo doctor --entropy`), and trains each for a short while with the tempered
term always hot, without it, and always cold. Interrupt it at will: the same command goes on where it was. Writes
results/forecast.json, docs/forecast/forecast.png and the tables of docs/forecast.md.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import report
import torch
from bases import BASES, Base, folder_of, make
from outcomes import STEPS, outcome

from aepo_rllib.algorithms.aepo import AEPOConfig
from aepo_rllib.doctor.forecast import Level, Sums, forecast
from aepo_rllib.doctor.levels import sample_levels
from aepo_rllib.envs.traces import STYLE_WORDS
from aepo_rllib.objectives.entropy_pull import SURE

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/forecast"), help="folder of models and runs")
    parser.add_argument("--report-only", action="store_true", help="make, sample and train nothing")
    parser.add_argument("--only", choices=("bases", "forecasts", *STEPS), help="stop after one kind of work")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.report_only:
        work(arguments.runs, arguments.only)
    rows = [row for base in BASES if (row := _row(base, arguments.runs))]
    report.write(rows, HERE.parent / "results" / "forecast.json", DOCS)


def work(root: Path, only: str | None) -> None:
    """What is not on disk yet."""
    for base in BASES:
        make(base, root / "bases")
    if only in (None, "forecasts"):
        for base in BASES:
            sampled(base, root)
            print("sampled", base.name, flush=True)
    for way in STEPS:
        if only in (None, way):
            for base in BASES:
                outcome(folder_of(base, root / "bases"), base.name, way, root / "outcomes")
                print("trained", way, base.name, flush=True)


def sampled(base: Base, root: Path) -> dict[str, Any]:
    """Sums of a base model's samples, and what is said of its tokens."""
    file = root / "sampled" / f"{folder_of(base, root).name}.json"
    if not file.is_file():
        config = AEPOConfig().language_model(model_path=str(folder_of(base, root / "bases")))
        found = sample_levels(config.evaluation(evaluation_interval=None))
        levels = [[level.tau, *[[part.tolist() for part in stream] for stream in level[1:]]] for level in found.levels]
        kinds = {name: figure.tolist() for name, figure in found.kinds._asdict().items()}
        record = {"levels": levels, "kinds": kinds, "names": found.names, "correct": found.correct}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(record) + "\n")
    return json.loads(file.read_text())


def levels_of(record: dict[str, Any]) -> list[Level]:
    """Levels from their JSON."""
    return [Level(tau, *(Sums(*map(np.array, stream)) for stream in streams)) for tau, *streams in record["levels"]]


def _row(base: Base, root: Path) -> dict[str, Any] | None:
    """Forecast and outcomes of a base; None where one is missing."""
    name = folder_of(base, root).name
    files = {way: root / "outcomes" / f"{name}.{way}.json" for way in STEPS}
    there = {way: json.loads(file.read_text()) for way, file in files.items() if file.is_file()}
    if "hot" not in there or not (root / "sampled" / f"{name}.json").is_file():
        return None
    record = sampled(base, root)
    found = forecast(levels_of(record))
    plain = {key: value for key, value in asdict(found).items() if key != "rates"}
    return {"base": base.name, "correct": record["correct"], "forecast": plain, "outcomes": there, **_split(record)}


def _split(record: dict[str, Any]) -> dict[str, float]:
    """How much of the choice of content and of style goes with success, by a list of words that a forecast has not."""
    kinds = {name: np.array(figure) for name, figure in record["kinds"].items()}
    style = np.array([name in STYLE_WORDS or name == " =" for name in record["names"]])
    share = kinds["entropy"] / kinds["entropy"].sum()
    parts = {"style": style, "content": ~style}
    found = {f"{name}_explained": np.average(kinds["explained"][at], weights=share[at]) for name, at in parts.items()}
    found |= {f"{name}_sure": share[at & (kinds["z"] > SURE)].sum() for name, at in parts.items()}
    return {"content_share": float(share[~style].sum()), **{name: float(figure) for name, figure in found.items()}}


if __name__ == "__main__":
    main()
