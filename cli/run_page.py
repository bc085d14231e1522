"""`run.html`: a run on one page, opened from the disk: curves, completions with their verdicts, warnings, settings.

It needs no server, no network and no trust in what models write, see `aepo_rllib.eval.reports.page`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from aepo_rllib.cli.run_page_curves import charts, legend
from aepo_rllib.cli.summary import overview, sentences, window_of
from aepo_rllib.eval.reports.page import data_element, filled, shared_script, shared_style, write_whole

STYLE_MARK, SCRIPT_MARK, CURVES_MARK, DATA_MARK = (
    "/* shared style */",
    "// shared script",
    "<!-- curves -->",
    "<!-- data -->",
)
MOST_CHARACTERS = 3_000_000
"""Of all samples on a page; of more, evenly spaced steps are shown."""
LONGEST_TEXT = 20_000
"""Of a prompt or a completion; a longer one is cut in its middle."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class ShownRun:
    """What a run's page is made of.

    Attributes:
        title: Names the run.
        steps: How many it is to have.
        config: Its resolved configuration.
        records: Of `metrics.jsonl`.
        samples: Of `samples.jsonl`.
        warnings: Of `warnings.jsonl`.
        ended: Whether it goes on no more.
    """

    title: str
    steps: int
    config: Record
    records: Sequence[dict[str, Any]]
    samples: Sequence[Record] = ()
    warnings: Sequence[Record] = ()
    ended: bool = False


def write_run_page(run: ShownRun, file: Path) -> Path:
    """Write the page, replacing an older one only when the new one is complete.

    Raises:
        OSError: the file cannot be written.
    """
    return write_whole(_parts(run), file)


def _parts(run: ShownRun) -> Iterator[str]:
    template = files("aepo_rllib.cli").joinpath("run_page.html").read_text(encoding="utf-8")
    whole = filled(template.replace(STYLE_MARK, shared_style()).replace(SCRIPT_MARK, shared_script()), run.title)
    head, rest = whole.split(CURVES_MARK)
    middle, tail = rest.split(DATA_MARK)
    yield head
    yield charts(run.records) if run.records else ""
    yield middle
    yield data_element("run", _about(run))
    samples = shown_samples(run.samples)
    yield data_element("samples", {"total": len(run.samples), "samples": [_sample(record) for record in samples]})
    yield tail


def _about(run: ShownRun) -> dict[str, Any]:
    now, state = time.strftime("%Y-%m-%d %H:%M"), f"step {len(run.records)} of {run.steps}"
    return {
        "title": run.title,
        "state": f"{state}, ended {now}" if run.ended else f"{state}, as of {now}; load this page again to see more",
        "window": window_of(run.records),
        "rows": [list(row) for row in overview(run.records)],
        "sentences": sentences(run.records),
        "legend": legend(run.records),
        "warnings": [str(record.get("text")) for record in run.warnings],
        "config": yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True),
    }


def shown_samples(records: Sequence[Record], most: int = MOST_CHARACTERS) -> list[Record]:
    """All samples, or those of evenly spaced steps, the first and the last among them, of about so many characters."""
    steps = sorted({record["step"] for record in records})
    size = sum(len(_clipped(record[name])) for record in records for name in ("prompt", "completion"))
    if size <= most or len(steps) < 3:
        return list(records)
    count = max(2, int(len(steps) * most / size))
    kept = {steps[round(place * (len(steps) - 1) / (count - 1))] for place in range(count)}
    return [record for record in records if record["step"] in kept]


def _sample(record: Record) -> dict[str, Any]:
    turns = "".join(f"[{turn[0]}]\n{turn[1]}\n" for turn in record.get("turns") or ())
    return {
        "step": record["step"],
        "stream": str(record.get("stream", "")),
        "prompt": _clipped(f"{turns}[user]\n{record['prompt']}" if turns else record["prompt"]),
        "text": _clipped(record["completion"]),
        "verdict": str(record.get("verdict", "")),
        "reward": record.get("reward"),
        "answer": _clipped(record.get("answer") or ""),
        "gold": _clipped(record.get("gold") or ""),
        "cut": record.get("finish_reason") == "length",
    }


def _clipped(text: object) -> str:
    whole, half = str(text), LONGEST_TEXT // 2
    if len(whole) <= LONGEST_TEXT:
        return whole
    return f"{whole[:half]}\n[... {len(whole) - 2 * half} characters ...]\n{whole[-half:]}"
