"""What a run says at its end can be counted after, and its warnings are kept."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from rich.console import Console

from aepo_rllib.cli.kept_warnings import kept_warnings
from aepo_rllib.cli.run_folder import METRICS, WARNINGS, RunFolder
from aepo_rllib.cli.summary import overview, sentences, tell_end


def record(step: int, temperature: float, **figures: float) -> dict[str, float]:
    return {
        "step": step,
        "main/reward_mean": step / 100,
        "main/exact_entropy": 0.55,
        "main/truncated_share": 0.125,
        "control/target_entropy": 0.5,
        "control/temperature": temperature,
        **figures,
    }


@pytest.fixture
def records() -> list[dict[str, float]]:
    hot = {3, 4, 50}
    scores = {10: 0.25, 20: 0.75, 30: 0.5}
    return [
        record(step, 1.2 if step in hot else 0.8, **({"evaluation/pass@1": scores[step]} if step in scores else {}))
        for step in range(1, 51)
    ]


def test_the_overview_shows_the_first_and_the_last_steps(records: list[dict[str, float]]) -> None:
    rows = {row.label: (row.first, row.last) for row in overview(records)}
    assert rows["mean reward in training"] == ("0.105", "0.405")
    assert rows["validation pass@1"] == ("0.250 (step 10)", "0.500 (step 30)")
    assert rows["completions cut off at the limit"] == ("12%", "12%")
    assert "completions without an answer" not in rows


def test_the_sentences_say_what_the_dial_did(records: list[dict[str, float]]) -> None:
    validation, dial, distance = sentences(records)
    assert validation == "Validation pass@1 went from 0.250 to 0.500; the best was 0.750, at step 20."
    assert "up in 3 of 50 steps (temperature above 1) and down in 47; its last temperature was 1.2" in dial
    assert distance == "Over the last 20 steps the entropy was 10% above its target."


def test_a_run_without_dial_or_validation_says_nothing_of_them() -> None:
    assert sentences([{"step": 1, "main/reward_mean": 0.5, "main/exact_entropy": 0.5}]) == []
    assert sentences([]) == []


def test_a_coefficient_is_a_dial_as_well() -> None:
    records = [{"step": step, "control/coefficient": value} for step, value in enumerate((-1e-3, 0.0, 2e-3), start=1)]
    [words] = sentences(records)
    assert "up in 1 of 3 steps (coefficient above 0) and down in 1; its last coefficient was 0.002" in words


def test_what_the_package_warns_of_is_shown_and_kept(tmp_path: Path, records: list[dict[str, float]]) -> None:
    console = Console(record=True, width=200)
    root, logger = logging.getLogger(), logging.getLogger("aepo_rllib.some.module")
    others, root.handlers = root.handlers, []
    try:
        with RunFolder.create(tmp_path / "run", {}) as folder, kept_warnings(folder, console) as kept:
            for kept.step in (3, 3, 7):
                logger.warning("step %d: \x1b[2J%s", kept.step, "why")
            logger.info("no warning")
    finally:
        root.handlers = others
    logger.warning("after the run")
    assert folder.read(WARNINGS) == [{"step": step, "text": f"step {step}: \x1b[2Jwhy"} for step in (3, 3, 7)]
    for line in records:
        folder.append(METRICS, line)
    tell_end(folder, console)
    shown = console.export_text()
    assert shown.count("\\x1b[2Jwhy") == 3
    assert "\x1b" not in shown
    assert "warnings: 3, kept in" in shown
    assert "no warning" not in shown


def test_warnings_that_somebody_handles_are_kept_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    console = Console(record=True)
    with RunFolder.create(tmp_path / "run", {}) as folder, kept_warnings(folder, console):
        logging.getLogger("aepo_rllib.x").warning("once")
    assert "once" in caplog.text
    assert not console.export_text()
    assert [line["text"] for line in folder.read(WARNINGS)] == ["once"]
