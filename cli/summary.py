"""What a run came to, in words and figures that need no page to be read: at its end, and on its page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from aepo_rllib import metrics
from aepo_rllib.cli.live_line import VALIDATION
from aepo_rllib.cli.run_folder import METRICS, PAGE, WARNINGS, RunFolder
from aepo_rllib.control.dial_loop import NEUTRAL
from aepo_rllib.envs.verdict import Verdict

WINDOW = 20
"""Steps that the first and the last figures are means of, of a run that is long enough."""

Record = Mapping[str, Any]


class Row(NamedTuple):
    """A figure at the start and at the end of a run."""

    label: str
    first: str
    last: str


def overview(records: Sequence[Record]) -> list[Row]:
    """Figures of the first and the last steps side by side, those that the run has."""
    window = window_of(records)
    rows = []
    entropy = next(
        (name for name in metrics.LOGGED_ENTROPIES if all(name in record for record in records)),
        metrics.LOGGED_ENTROPIES[0],
    )
    for label, key, scale in (_ROWS[0], ("entropy (nats per token)", entropy, ".3f"), *_ROWS[1:]):
        if all(key in record for record in records):
            first, last = (sum(r[key] for r in part) / window for part in (records[:window], records[-window:]))
            rows.append(Row(label, f"{first:{scale}}", f"{last:{scale}}"))
    if scores := validations(records):
        (at, first), (end, last) = scores[0], scores[-1]
        rows.insert(1, Row("validation pass@1", f"{first:.3f} (step {at})", f"{last:.3f} (step {end})"))
    return rows


def window_of(records: Sequence[Record]) -> int:
    """Steps that figures of a run's start and end are means of."""
    return min(WINDOW, max(1, len(records) // 2))


def validations(records: Sequence[Record]) -> list[tuple[int, float]]:
    """Steps that were validated, and pass@1."""
    return [(int(record["step"]), record[VALIDATION]) for record in records if VALIDATION in record]


def sentences(records: Sequence[Record]) -> list[str]:
    """What the figures mean: how validation went, what the dial did, whether the entropy is where it should be."""
    return list(_sentences(records)) if records else []


def _sentences(records: Sequence[Record]) -> Iterator[str]:
    if len(scores := validations(records)) > 1:
        at, best = max(scores, key=lambda score: score[1])
        (_, first), (_, last) = scores[0], scores[-1]
        yield f"Validation pass@1 went from {first:.3f} to {last:.3f}; the best was {best:.3f}, at step {at}."
    for name, neutral in NEUTRAL.items():
        key = f"{metrics.CONTROL}/{name}"
        settings = [record[key] for record in records if key in record]
        if settings:
            yield _dial_words(name.replace("_", " "), neutral, settings)
    if distance := _distance_words(records):
        yield distance


def _dial_words(name: str, neutral: float, settings: Sequence[float]) -> str:
    """What a dial did, in steps."""
    up, down = sum(value > neutral for value in settings), sum(value < neutral for value in settings)
    return (
        f"The dial pushed the entropy up in {up} of {len(settings)} steps ({name} above {neutral:g}) and down in "
        f"{down}; its last {name} was {settings[-1]:.3g}."
    )


def _distance_words(records: Sequence[Record]) -> str:
    """How far the entropy of the last steps is from its target."""
    window, target = window_of(records), f"{metrics.CONTROL}/{metrics.TARGET_ENTROPY}"
    last = records[-window:]
    entropy = next((name for name in metrics.LOGGED_ENTROPIES if all(name in record for record in last)), None)
    if entropy is None or not all(record.get(target) for record in last):
        return ""
    off = sum(record[entropy] for record in last) / sum(record[target] for record in last) - 1
    side = "above" if off > 0 else "below"
    return f"Over the last {window} steps the entropy was {abs(off):.0%} {side} its target."


def tell_end(folder: RunFolder, console: Console) -> None:
    """Print what a run came to, and where there is more to see.

    Raises:
        ValueError: its metrics are damaged.
    """
    records, warned = folder.read(METRICS), folder.read(WARNINGS)
    if not records:
        console.print("no step was finished")
        return
    console.print(summary_table(f"{folder.path}: {len(records)} steps", records), soft_wrap=False)
    for sentence in sentences(records):
        console.print(sentence)
    if warned:
        console.print(f"warnings: {len(warned)}, kept in {folder.path / WARNINGS}", style="yellow")
    if (folder.path / PAGE).is_file():
        console.print(f"to look at: {folder.path / PAGE}")


def summary_table(title: str, records: Sequence[Record]) -> Table:
    """The overview as a table for the terminal."""
    window = window_of(records)
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for end in ("first", "last"):
        table.add_column(f"{end} {window} steps" if window > 1 else f"{end} step", justify="right")
    for row in overview(records):
        table.add_row(*row)
    return table


_ROWS = (
    ("mean reward in training", f"{metrics.MAIN}/{metrics.REWARD_MEAN}", ".3f"),
    ("its target", f"{metrics.CONTROL}/{metrics.TARGET_ENTROPY}", ".3f"),
    ("entropy of the starting model", f"{metrics.CONTROL}/{metrics.BASE_ENTROPY}", ".3f"),
    ("completions cut off at the limit", f"{metrics.MAIN}/{metrics.TRUNCATED_SHARE}", ".0%"),
    ("completions without an answer", f"{metrics.MAIN}/{metrics.verdict_share(Verdict.NO_ANSWER)}", ".0%"),
    ("problems solved always or never", f"{metrics.MAIN}/{metrics.FLAT_GROUP_SHARE}", ".0%"),
    ("tokens per completion", f"{metrics.MAIN}/{metrics.COMPLETION_TOKENS}", ".1f"),
    ("completions per second", f"{metrics.THROUGHPUT}/{metrics.COMPLETIONS_PER_SECOND}", ".0f"),
)
"""Label, metric and format of a figure."""
