"""A study runs as trials of Ray Tune, outlives a kill of a trial or of everything, and draws its report from tables."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from aepo_rllib.cli.run_folder import RunFolder
from aepo_rllib.cli.study.running import set_evaluation_aside
from aepo_rllib.cli.study.trial import NUMBERS, VALIDATION, Trial
from aepo_rllib.eval.plan import Settings
from aepo_rllib.eval.settings import settings_of
from aepo_rllib.study.tables import read_tables
from tests.support.command import children, here, records, weights_hash, without_times
from tests.support.told_tracker import LINES

DIES_ONCE = """
import os, signal
from pathlib import Path
from aepo_rllib.algorithms.grpo import GRPO, GRPOConfig

class DiesOnceConfig(GRPOConfig):
    '''As GRPO, and the first process to begin its third step is killed there, when there is a checkpoint.'''

class DiesOnce(GRPO):
    Config = DiesOnceConfig

    def training_step(self):
        mark = Path(__file__).with_name("died")
        if self.train_steps == 2 and not mark.exists():
            mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        super().training_step()
"""
STUDY = """\
title: a small one
steps: {steps}
window: 2
reference: plain
settings:
  {{batch_size: 4, group_size: 4, checkpoint_every: 1, keep_checkpoints: 4, evaluation_interval: 1, track: [{track}]}}
arms:
  other: {{algo: {other}}}
  plain: {{algo: grpo}}
evaluation: {{suites: [aepo_countdown4], n: 2, limit: 3}}
tables: {{court: all, mine: {{kind: passk, arms: [plain, other], minus: [plain]}}, by_suite: {{kind: suites}}}}
figures: {{entropy: all, panels: all, curves: {{kind: passk, title: Ours}}, tradeoff: all}}
"""


class Study(NamedTuple):
    """A study that has ended: its file, its folder, and what was printed."""

    file: Path
    folder: Path
    output: str


@pytest.fixture(scope="module")
def study(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two arms that compute the same; of one, the process is killed in the third step."""
    home = tmp_path_factory.mktemp("study")
    (home / "dies.py").write_text(DIES_ONCE)
    (home / "lines.py").write_text(LINES)
    file = home / "small.yaml"
    own = {"other": f"{home}/dies.py:DiesOnceConfig", "track": f'"{home}/lines.py:Lines"'}
    file.write_text(STUDY.format(steps=3, **own))
    output = here("study", file, "-o", home / "out", "--jobs", 1)
    return Study(file, home / "out", output)


def reports(folder: Path) -> dict[str, bytes]:
    """What is made of the tables: the page and its figures."""
    return {file.name: file.read_bytes() for file in [folder / "report.md", *(folder / "report").glob("*.png")]}


def test_a_trial_whose_process_was_killed_ends_as_one_that_was_left_alone(study: Study) -> None:
    assert (study.file.parent / "died").exists()
    killed, whole = study.folder / "other-seed0", study.folder / "plain-seed0"
    assert "resuming after step" in (study.folder / "other-seed0.log").read_text()
    assert [record["step"] for record in records(killed)] == [1, 2, 3]
    assert list(map(without_times, records(killed))) == list(map(without_times, records(whole)))
    assert weights_hash(killed) == weights_hash(whole)


def test_every_trial_is_a_run_of_a_tracker(study: Study) -> None:
    """One that was killed and goes on has the name it began with, and was told of its end once."""
    lines = [line.split() for line in (study.folder / "told.txt").read_text().splitlines()]
    names = {name for name, _ in lines}
    assert {name.partition("-")[2] for name in names} == {"other-seed0", "plain-seed0"}
    assert len(names) == 2
    by_arm = {name.partition("-")[2]: [what for each, what in lines if each == name] for name in names}
    assert by_arm["plain-seed0"] == ["1", "2", "3", "False"]
    steps = by_arm["other-seed0"]  # it went on from its last whole checkpoint
    assert (steps[0], steps[-2:], steps.count("False")) == ("1", ["3", "False"], 1)
    assert set(steps) == {"1", "2", "3", "False"}


def test_every_trial_is_a_run_with_an_evaluation(study: Study) -> None:
    assert "plain-seed0" in here("compare", study.folder / "plain-seed0", study.folder / "other-seed0")
    assert "steps: 3" in (study.folder / "plain-seed0" / "config.yaml").read_text()


def test_the_tables_hold_what_the_trials_have_written(study: Study) -> None:
    tables = read_tables(study.folder / "report")
    ours = tables.steps[tables.steps.arm == "plain"]
    logged = records(study.folder / "plain-seed0")
    assert list(ours.entropy) == [record["main/exact_entropy"] for record in logged]
    assert list(ours.reward) == [record["main/reward_mean"] for record in logged]
    assert list(ours.completions) == [16, 32, 48]
    scores = json.loads((study.folder / "plain-seed0" / "eval" / "passk.json").read_text())["suites"]["aepo_countdown4"]
    problems = tables.problems[tables.problems.arm == "plain"]
    assert (problems.correct / problems.n).mean() == pytest.approx(scores["avg@n"])
    rounded = pd.read_csv(study.folder / "report" / "steps.csv")
    assert list(rounded.step) == list(tables.steps.step)


def test_the_same_command_again_has_nothing_left_and_reports_the_same(study: Study) -> None:
    before = reports(study.folder), (study.folder / "plain-seed0" / "metrics.jsonl").stat().st_mtime_ns
    assert {"report.md", "entropy.png", "panels.png", "curves.png", "tradeoff.png"} == set(before[0])
    output = here("study", study.file, "-o", study.folder)
    assert "2 of 2 trials have ended before" in output
    assert (reports(study.folder), (study.folder / "plain-seed0" / "metrics.jsonl").stat().st_mtime_ns) == before


def test_a_report_is_drawn_again_from_the_tables_alone_and_keeps_what_others_wrote(
    study: Study, tmp_path: Path
) -> None:
    shutil.copytree(study.folder / "report", tmp_path / "report", ignore=shutil.ignore_patterns("*.png"))
    (tmp_path / "page.md").write_text("# Mine\n\nBefore.\n<!-- table court -->\nold\n<!-- /table court -->\nAfter.\n")
    here("study", study.file, "-o", tmp_path, "--report-only", "--page", tmp_path / "page.md")
    assert reports(tmp_path) == reports(study.folder)
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("# Mine\n\nBefore.\n<!-- table court -->\n| arm |")
    assert "| plain |" in page.partition("After.")[0]
    assert "old" not in page
    assert (tmp_path / "page" / "entropy.png").is_file()


def test_a_folder_with_another_study_in_it_is_refused(study: Study, tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(study.file.read_text().replace("plain: {algo: grpo}", "plain: {algo: grpo, lr: 1e-5}"))
    output = here("study", file, "-o", study.folder, code=2)
    assert f"{file}:9: arms.plain: {study.folder}/plain-seed0 holds another run" in output
    assert "lr (was 0.0006, now 1e-05)" in output
    file.write_text(study.file.read_text().replace("steps: 3", "steps: 2"))
    assert "holds 3 steps, and now it is to have 2" in here("study", file, "-o", study.folder, code=2)


def test_what_is_named_alone_is_written_alone_and_the_tables_keep_the_rest(study: Study, tmp_path: Path) -> None:
    folder = shutil.copytree(study.folder, tmp_path / "out")
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- figure curves -->\n<!-- /figure curves -->\n<!-- table court -->\nold\n<!-- /table court -->\n"
    )
    here("study", study.file, "-o", folder, "--only", "curves", "--page", page)
    assert page.read_text().startswith("<!-- figure curves -->\n![Ours](page/curves.png)\n")
    assert page.read_text().endswith("<!-- table court -->\nold\n<!-- /table court -->\n")
    assert {file.name for file in (tmp_path / "page").iterdir()} == {"curves.png"}
    here("study", study.file, "-o", folder, "--only", "plain")
    pd.testing.assert_frame_equal(read_tables(folder / "report").steps, read_tables(study.folder / "report").steps)


@pytest.mark.slow
def test_both_checkpoints_are_evaluated_and_more_steps_keep_what_was_evaluated(study: Study, tmp_path: Path) -> None:
    """Asked for later: nothing is trained again, and of the last checkpoint nothing sampled. Then a step is added."""
    file, folder = tmp_path / "small.yaml", shutil.copytree(study.folder, tmp_path / "out")
    run, command = folder / "plain-seed0", ("study", file, "-o", folder, "--only", "plain", "--jobs", 1)
    both = study.file.read_text().replace("n: 2,", "n: 2, checkpoint: [best, last],")
    file.write_text(both.replace("kind: passk, arms", "kind: passk, checkpoint: last, arms"))
    last = (run / "eval" / "passk.json").read_bytes()
    assert "0 of 1 trials have ended before" in here(*command) or best_step(run) == 3
    assert (run / "eval" / "passk.json").read_bytes() == last
    best = scores(run / ("eval" if best_step(run) == 3 else f"eval-step_{best_step(run):06}"))
    problems = read_tables(folder / "report").problems
    assert of(problems, "best") == best
    assert of(problems, "last") == scores(run / "eval")
    mine = (folder / "report.md").read_text().partition("<!-- table mine -->")[2]
    correct = list(of(problems, "last").values())
    assert f"| plain | {sum(correct) / (2 * len(correct)):.3f} [" in mine

    file.write_text(both.replace("steps: 3", "steps: 4"))
    here(*command)
    assert (run / "eval-step_000003" / "passk.json").read_bytes() == last
    assert len(records(run)) == 4
    weights = weights_hash(run)
    assert weights_hash(run / "checkpoints" / "step_000004") == weights
    assert weights_hash(study.folder / run.name) != weights
    assert of(read_tables(folder / "report").problems, "last") == scores(run / "eval")

    file.write_text(both.replace("steps: 3", "steps: 4").replace("limit: 3", "limit: 4"))
    here(*command, code=1)
    assert "holds another evaluation: limit 3 there, 4 now" in (folder / "plain-seed0.log").read_text()


def best_step(run: Path) -> int:
    """The first step with the highest validation score."""
    found = [record[VALIDATION] for record in records(run)]
    return 1 + found.index(max(found))


def scores(evaluation: Path) -> dict[str, int]:
    """Correct samples by problem, as an evaluation has written them."""
    lines = (evaluation / "problems.jsonl").read_text().splitlines()
    return {str(line["id"]): line["correct"] for line in map(json.loads, lines)}


def of(problems: pd.DataFrame, checkpoint: str) -> dict[str, int]:
    """The same of a study's table."""
    rows = problems[(problems.arm == "plain") & (problems.checkpoint == checkpoint)]
    return dict(zip(rows.problem, rows.correct, strict=True))


def test_the_best_checkpoint_has_to_be_there(study: Study, tmp_path: Path) -> None:
    """And is the first of equal ones, among those that were kept and validated."""
    run = shutil.copytree(study.folder / "plain-seed0", tmp_path / "run")
    trial = Trial("plain", 0, run, {"steps": 3}, "embedded", checkpoints=("best",))
    lines = records(run)
    for score, line in zip((0.1, 0.4, 0.4), lines, strict=True):
        line[VALIDATION] = score
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert trial.evaluated_model("best") == str(run / "checkpoints" / "step_000002")
    assert trial.report("best") == run / "eval-step_000002"
    shutil.rmtree(run / "checkpoints" / "step_000002")
    with pytest.raises(ValueError, match="its best checkpoint, of step 2, is not there"):
        trial.evaluated_model("best")


def trial_of(study: Study, folder: Path, **evaluation: object) -> Trial:
    """A copy of the plain arm's trial, which is asked for another evaluation than was made."""
    run = shutil.copytree(study.folder / "plain-seed0", folder / "run")
    asked = {"suites": ["aepo_countdown4"], "n": 2, "limit": 3} | evaluation
    given = {key: value for key, value in asked.items() if value is not None}
    return Trial("plain", 0, run, {"steps": 3}, "embedded", evaluation=given, suites=("aepo_countdown4",))


@pytest.mark.parametrize(
    ("evaluation", "done"),
    [
        ({}, True),
        ({"n": 1}, True),
        ({"temperature": 1}, True),
        ({"n": 3}, False),
        ({"limit": 4}, False),
        ({"limit": None}, False),
        ({"temperature": 0.6}, False),
        ({"max_new_tokens": 64}, False),
    ],
)
def test_scores_are_those_that_are_asked_for(study: Study, tmp_path: Path, evaluation: dict, done: bool) -> None:
    assert trial_of(study, tmp_path, **evaluation).is_evaluated() == done


def test_what_a_report_repeats_has_the_defaults_of_evaluations() -> None:
    declared = settings_of(Settings)
    assert {name: declared[name].option.default for name in NUMBERS} == NUMBERS


def test_scores_of_other_suites_or_of_an_older_export_are_not_those(study: Study, tmp_path: Path) -> None:
    trial = trial_of(study, tmp_path)
    assert trial.is_finished()
    assert not replace(trial, suites=("aepo_countdown4", "aepo_arithmetic")).is_evaluated()
    export = trial.folder / "huggingface" / "aepo.json"
    later = (trial.folder / "eval" / "passk.json").stat().st_mtime + 1
    os.utime(export, (later, later))
    assert not trial.is_evaluated()


def test_a_model_that_was_exported_earlier_is_not_that_of_the_last_step(study: Study, tmp_path: Path) -> None:
    trial = trial_of(study, tmp_path)
    export = trial.folder / "huggingface" / "aepo.json"
    export.write_text(export.read_text().replace('"step": 3', '"step": 2'))
    assert not trial.is_trained()


def test_the_last_of_all_may_be_the_best_although_no_checkpoint_was_due(study: Study, tmp_path: Path) -> None:
    trial = trial_of(study, tmp_path)
    config, name = RunFolder(trial.folder).config_and_id()
    RunFolder(trial.folder).write_config({**config, "checkpoint_every": 2}, name)
    lines = records(trial.folder)
    for score, line in zip((0.5, 0.1, 0.3), lines, strict=True):
        line[VALIDATION] = score
    (trial.folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert trial.best_step() == 3
    assert trial.report("best") == trial.report("last") == trial.folder / "eval"


def test_an_evaluation_of_the_last_step_is_set_aside_whatever_lies_there(study: Study, tmp_path: Path) -> None:
    trial = trial_of(study, tmp_path)
    old = trial.folder / "eval-step_000003"
    old.mkdir()
    (old / "passk.json").write_text("of an earlier attempt")
    made = (trial.folder / "eval" / "passk.json").read_bytes()
    set_evaluation_aside(trial)
    assert (old / "passk.json").read_bytes() == made
    assert not (trial.folder / "eval").exists()


@pytest.mark.slow
@pytest.mark.process
def test_a_study_that_was_killed_as_a_whole_goes_on(tmp_path: Path) -> None:
    """Killed are the command, Ray and the trials, when one trial has ended and the other has begun."""
    file, folder = tmp_path / "small.yaml", tmp_path / "out"
    file.write_text(STUDY.format(steps=6, other="grpo", track=""))
    command = [sys.executable, "-m", "aepo_rllib.cli.main", "study", str(file), "-o", str(folder), "--jobs", "1"]
    first, second = folder / "other-seed0", folder / "plain-seed0"
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (second / "metrics.jsonl").is_file() or len((second / "metrics.jsonl").read_bytes().splitlines()) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for pid in [process.pid, *children(process.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    ended = (first / "metrics.jsonl").read_bytes()
    assert not (second / "eval").exists()
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 of 2 trials have ended before" in result.stderr
    assert (first / "metrics.jsonl").read_bytes() == ended
    assert "resuming after step" in (folder / "plain-seed0.log").read_text()
    assert list(map(without_times, records(second))) == list(map(without_times, records(first)))
    assert weights_hash(second) == weights_hash(first)
