"""A study's file is refused with its file, the line and the key, before anything is loaded or started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aepo_rllib.cli.study.file import StudyFile, find_study, folder_name, read_study
from aepo_rllib.study.figures import FIGURE_OF
from aepo_rllib.study.markdown import TABLE_OF
from aepo_rllib.study.study import BASE_ARM, FIGURES, TABLES, Study, shipped
from tests.support.command import here

GOOD = """\
title: two arms
completions: 100
seeds: [0, 1]
reference: plain
settings:
  lr: 1e-4
arms:
  plain: {algo: grpo}
  held:
    algo: aepo
    target_entropy: 0.5x
    lr: 2e-4
evaluation:
  base: true
  n: 8
tables: [court]
figures:
  panels: all
  passk: [base model, held]
quick:
  steps: 2
  evaluation: {n: 4}
"""


def read(folder: Path, text: str, **kwargs: Any) -> Study:
    file = folder / "mine.yaml"
    file.write_text(text)
    return read_study(StudyFile(file), **kwargs)


def test_an_arm_has_the_settings_of_all_and_its_own_upon_them(tmp_path: Path) -> None:
    study = read(tmp_path, GOOD)
    assert study.arms == {
        "plain": {"algo": "grpo", "lr": 1e-4},
        "held": {"algo": "aepo", "lr": 2e-4, "target_entropy": "0.5x"},
    }
    assert (study.name, study.completions, study.steps, study.seeds) == ("mine", 100, None, (0, 1))
    assert study.evaluation == {"n": 8}
    assert study.groups == [BASE_ARM, "plain", "held"]
    assert study.figures == {"panels": ["plain", "held"], "passk": [BASE_ARM, "held"]}


def test_the_quick_form_is_laid_upon_the_rest_and_its_length_replaces_the_other(tmp_path: Path) -> None:
    study = read(tmp_path, GOOD, quick=True)
    assert (study.completions, study.steps, study.evaluation) == (None, 2, {"n": 4})
    with pytest.raises(ValueError, match=r"mine.yaml: it has no quick form"):
        read(tmp_path, GOOD.partition("quick:")[0], quick=True)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("seeds: [0, 1]", "seedz: [0, 1]", 3, "unknown key 'seedz'; did you mean seeds"),
        ("seeds: [0, 1]", "seeds: [0, 0]", 3, "seeds: a seed twice"),
        ("seeds: [0, 1]", "seeds: 3", 3, "seeds=3 must be a list"),
        ("completions: 100", "completions: 100\nsteps: 5", 3, "either steps or completions"),
        ("completions: 100", "completions: many", 2, "completions='many' must be a whole number"),
        ("reference: plain", "reference: plane", 4, "reference: unknown arm 'plane'; did you mean plain"),
        ("{algo: grpo}", "{lr: 1}", 8, "arms.plain: an arm is a mapping with algo"),
        ("    lr: 2e-4", "    steps: 9", 12, "arms.held: steps is the study's"),
        ("  plain: {algo", "  held_: {algo: aepo}\n  Held_: {algo: aepo}\n  plain: {algo", 9, "its folder would be"),
        ("  plain: {algo", "  a/b: {algo: grpo}\n  plain: {algo", 8, "'a/b' is no name of an arm"),
        ("tables: [court]", "tables: [cort]", 16, "one of court, control"),
        ("  panels: all", "  pannels: all", 18, "figures.pannels: unknown figure 'pannels'; did you mean panels"),
        ("[base model, held]", "[base model, hold]", 19, "figures.passk: unknown arm 'hold'; did you mean held"),
        ("  base: true", "  base: yes please", 14, "evaluation: base='yes please' must be true or false"),
        ("tables: [court]", "metrics: {reward: main/x}", 16, "metrics.reward: a column 'reward' is there already"),
        ("tables: [court]", "scores:\n  paths: 3", 17, "scores.paths: paths=3 must be a text"),
        ("  steps: 2", "  stepz: 2", 21, "quick: unknown key 'stepz'; did you mean steps"),
        ("tables: [court]", "tables: [court]\ntables: [court]", 17, "key 'tables' twice"),
    ],
)
def test_a_bad_file_is_refused_with_line_and_key(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(ValueError, match=f"{tmp_path}/mine.yaml:{line}: .*") as error:
        read(tmp_path, GOOD.replace(old, new))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("algo: grpo", "algo: grpoo", 8, "'grpoo'"),
        ("    lr: 2e-4", "    lrr: 2e-4", 12, "did you mean lr"),
        ("0.5x", "half", 11, "target_entropy='half'"),
        ("  n: 8", "  m: 8", 15, "evaluation: unknown key 'm'"),
        ("  n: 8", "  n: 0", 15, "n=0 must be"),
        ("  n: 8", "  n: 8\n  suites: [aepo_countdown5]", 13, "did you mean aepo_countdown4"),
        ("completions: 100", "completions: 10", 8, "completions=10 is less than the 128"),
    ],
)
def test_settings_of_arms_and_evaluation_are_checked_before_ray_starts(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD.replace("100", "1000").replace(old.replace("100", "1000"), new))
    output = here("study", file, "-o", tmp_path / "out", code=2)
    assert f"Error: {file}:{line}: " in output
    assert message in output
    assert not (tmp_path / "out").exists()


def test_a_name_is_a_shipped_study_or_a_file(tmp_path: Path) -> None:
    assert find_study("court") == shipped()["court"]
    with pytest.raises(ValueError, match=r"no study 'cort'; did you mean court\?"):
        find_study("cort")
    assert "court  The court" in here("study", "--list")


def test_an_unknown_arm_is_refused(tmp_path: Path) -> None:
    output = here("court", "--only", "aepo 0.7x", "-o", tmp_path, code=2)
    assert "--only: unknown arm 'aepo 0.7x'; did you mean aepo 0.75x" in output


def test_every_shipped_study_can_be_planned_and_compares_equal_completions(tmp_path: Path) -> None:
    from aepo_rllib.cli.study.plan import plan

    for path in shipped().values():
        file = StudyFile(path)
        study, _ = read_study(file), read_study(file, quick=True)
        trials = [trial for trial in plan(study, file, tmp_path) if trial.values is not None]
        assert len(trials) == len(study.arms) * len(study.seeds)
        assert len({trial.folder for trial in trials}) == len(trials)
        for trial in trials:
            spare = (study.completions or 0) - trial.steps * trial.per_step
            assert 0 <= spare < trial.per_step if study.completions else trial.steps == study.steps


def test_a_dry_run_counts_trials_steps_and_completions(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD.replace("completions: 100", "completions: 1000"))
    output = here("study", file, "--dry-run", "-o", tmp_path / "out")
    rows = [line.split() for line in output.splitlines()]
    assert ["plain", "grpo", "2", "7", "896", "0", "of", "2"] in rows  # 16 x 8 a step
    assert ["held", "aepo", "2", "5", "960", "0", "of", "2"] in rows  # and half as many tempered ones
    assert "5 trials, 5 of them left: 3712 completions" in output
    assert not (tmp_path / "out").exists()


def test_every_table_and_figure_that_can_be_named_can_be_made() -> None:
    assert TABLE_OF.keys() == TABLES.keys()
    assert FIGURE_OF.keys() == FIGURES.keys()


def test_folders_tell_arms_apart_that_differ_in_a_point() -> None:
    assert folder_name("AEPO 0.5x, alpha 2") == "aepo-0.5x-alpha-2"
