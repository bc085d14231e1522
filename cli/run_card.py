"""The model card of an exported model, with what its run has left beside it: how training went, and scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aepo_rllib.cli.run_folder import METRICS, RunFolder
from aepo_rllib.eval.json_input import having, mapped, number, optional, read_object, within
from aepo_rllib.eval.reports.evaluations import SUMMARY, Evaluation, read_evaluations
from aepo_rllib.eval.spec import report_folder
from aepo_rllib.eval.target import INFO_FILE
from aepo_rllib.models.fingerprint import folder_fingerprint
from aepo_rllib.models.model_card import CARD_FILE, Course, Evaluated, Score, model_card
from aepo_rllib.support.locks import write_atomically

SAMPLED = ("template", "answer_form", "grader", "temperature", "top_p", "max_new_tokens", "limit", "seed")
"""Settings of an evaluation that its scores depend on."""


def write_card(run: Path, folder: Path) -> list[str]:
    """Write the card of a run's model into the folder it was copied to.

    Args:
        run: A run directory, or one of its checkpoints. Whoever made it.
        folder: The model's.

    Returns:
        What could not be told: a sentence each.

    Raises:
        ValueError: `aepo.json` is damaged; names it.
        OSError: a file cannot be read or written.
    """
    info = read_object(folder / INFO_FILE) if (folder / INFO_FILE).is_file() else {}
    complaints: list[str] = []
    course = evaluated = None
    try:
        course = _course(run, info.get("step"))
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        reason = error if isinstance(error, ValueError) else f"{run / METRICS} is damaged ({error!r})"
        complaints.append(f"the card does not tell how training went: {reason}")
    try:
        evaluated = _evaluated(run, folder)
    except ValueError as error:
        complaints.append(f"the card has no scores: {error}")
    write_atomically(folder / CARD_FILE, model_card(info, course=course, evaluated=evaluated))
    return complaints


def _course(run: Path, step: Any) -> Course | None:
    """How training went up to the model's step; None where the run does not tell."""
    from aepo_rllib.cli.summary import overview, sentences, window_of

    kept = RunFolder(run)
    if not (run / METRICS).is_file() or type(step) is not int or not 0 < step <= kept.recorded_steps():
        return None
    records = kept.read(METRICS)[:step]
    window = window_of(records)
    heads = [f"first {window} steps", f"last {window} steps"]
    return Course(heads, [tuple(row) for row in overview(records)], sentences(records))


def _evaluated(run: Path, folder: Path) -> Evaluated | None:
    """Scores of these very weights; None where there are none.

    Raises:
        ValueError: there are scores, but they cannot be read, or are of other weights.
    """
    place = report_folder(run, SUMMARY)
    if not (place / SUMMARY).is_file():
        return None
    [evaluation] = read_evaluations([run])
    asked = evaluation.summary["evaluation"]
    identity = asked.get("identity")
    if not isinstance(identity, dict) or identity.get("model") != folder_fingerprint(folder):
        raise ValueError(f"those in {place} are of other weights; evaluate {run} again")
    settings = {name: asked[name] for name in SAMPLED if asked.get(name) is not None}
    return Evaluated([_score(evaluation, suite) for suite in evaluation.counts], settings)


def _score(evaluation: Evaluation, suite: str) -> Score:
    scores = evaluation.summary["suites"][suite]
    with within(SUMMARY), within(suite):
        _CURVE(scores["k"])
    points = {
        int(k): (point["mean"], tuple(point["ci95"]) if point.get("ci95") else None)
        for k, point in scores["k"].items()
        if point["mean"] is not None
    }
    samples = min((n for n, _ in evaluation.counts[suite].values()), default=0)
    return Score(suite, scores["problems"], samples, points)


def _interval(value: Any) -> None:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("must be two numbers")
    for end in value:
        number(-1, 2)(end)


_CURVE = mapped(having({"mean": optional(number(0, 1))}, {"ci95": optional(_interval)}))
