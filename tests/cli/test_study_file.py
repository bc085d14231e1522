"""A study's file is refused with its file, the line and the key, before anything is loaded or started."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aepo_rllib import GRPOConfig
from aepo_rllib.cli.config_file import recipes
from aepo_rllib.cli.settings import RunSettings
from aepo_rllib.cli.study.demands import checkpoints_to_keep, with_evaluation
from aepo_rllib.cli.study.file import StudyFile, find_study
from aepo_rllib.cli.study.gather import gather
from aepo_rllib.cli.study.reading import folder_name, read_study
from aepo_rllib.cli.study.trial import Dial, Trial
from aepo_rllib.study.figures import FIGURE_OF
from aepo_rllib.study.markdown import TABLE_OF
from aepo_rllib.study.study import BASE_ARM, Study, shipped
from aepo_rllib.study.summary import Summary
from aepo_rllib.study.tables import COLUMNS as TABLE_COLUMNS
from aepo_rllib.study.tables import Tables, table
from aepo_rllib.study.views import COLUMNS, FIGURES, TABLES, View
from aepo_rllib.support.yaml_input import read_mapping
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
    assert {view.name: (view.kind, *view.arms) for view in study.figures} == {
        "panels": (FIGURES["panels"], "plain", "held"),
        "passk": (FIGURES["passk"], BASE_ARM, "held"),
    }
    [court] = study.tables
    assert (court.name, court.kind, court.arms) == ("court", TABLES["court"], (BASE_ARM, "plain", "held"))


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
        ("tables: [court]", "tables: [cort]", 16, "tables.cort: unknown kind 'cort'; did you mean court"),
        ("  panels: all", "  pannels: all", 18, "figures.pannels: unknown kind 'pannels'; did you mean panels"),
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


NAMED = """\
title: views with names
steps: 4
reference: plain
arms: {plain: {algo: grpo}, held: {algo: aepo}, spare: {algo: gspo}}
evaluation: {base: true, n: 8}
figures:
  panels: [held]
  figure1:
    kind: entropy
    arms: [held]
    title: Held
    highest: 1.5
tables:
  table1:
    kind: passk
    arms: [held]
    minus: [base model]
    suites: [aepo_arithmetic]
  table2:
    kind: court
    arms: [held, spare]
    columns: [entropy, reward]
"""


def test_a_view_has_a_name_a_kind_and_what_its_kind_knows(tmp_path: Path) -> None:
    study = read(tmp_path, NAMED)
    assert study.figures[1] == View("figure1", FIGURES["entropy"], ("held",), "Held", highest=1.5)
    assert [view.name for view in (*study.figures, *study.tables)] == ["panels", "figure1", "table1", "table2"]


@pytest.mark.parametrize(
    ("only", "arms", "base", "evaluated"),
    [
        (["figure1"], {"held"}, False, set()),
        (["panels"], {"plain", "held"}, False, set()),  # with the reference on every small plot
        (["table1"], {"held"}, True, {BASE_ARM, "held"}),
        (["table2"], {"held", "spare"}, False, set()),
        (["figure1", "plain"], {"held", "plain"}, False, set()),
        (["spare"], {"spare"}, True, {BASE_ARM}),
    ],
)
def test_a_part_of_a_study_has_the_arms_and_evaluations_that_it_needs(
    tmp_path: Path, only: list[str], arms: set[str], base: bool, evaluated: set[str]
) -> None:
    part = read(tmp_path, NAMED).part(only)
    assert part.arms.keys() == arms
    assert part.with_base == base
    assert part.evaluated == evaluated


def test_without_a_view_of_scores_all_are_evaluated(tmp_path: Path) -> None:
    study = read(tmp_path, NAMED.partition("tables:")[0])
    assert study.evaluated == {BASE_ARM, "plain", "held", "spare"}


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("kind: entropy", "kind: entropie", 9, "figures.figure1: unknown kind 'entropie'; did you mean entropy"),
        ("    highest: 1.5", "    minus: [plain]", 12, "figures.figure1: unknown key 'minus'"),
        ("    highest: 1.5", "    highest: 0", 12, "highest=0 must be a number above 0"),
        ("minus: [base model]", "minus: [base modl]", 17, "unknown arm in minus 'base modl'; did you mean base model"),
        ("[entropy, reward]", "[entropie]", 22, "unknown name in columns 'entropie'; did you mean entropy"),
        ("  table2:", "  'table 2':", 19, "'table 2' is no name of a figure or table"),
        ("  panels: [held]", "  panels: held", 7, "arms='held' must be a list, each a text, or 'all'"),
        ("n: 8}", "n: 8, checkpoint: first}", 5, "checkpoint=['first'] must be a list, each one of last, best"),
    ],
)
def test_a_bad_view_is_refused_with_line_and_key(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    assert NAMED.count(old) == 1
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/mine.yaml:{line}: ")) as error:
        read(tmp_path, NAMED.replace(old, new))
    assert message in str(error.value)


def test_the_columns_that_can_be_named_are_those_of_the_table(tmp_path: Path) -> None:
    study = replace(read(tmp_path, NAMED), evaluation={"ks": (1, 4)}, reference="plain")
    empty = Tables(*(table(name, []) for name in TABLE_COLUMNS))
    view = View("all", TABLES["court"], ("held",), columns=COLUMNS)
    assert TABLE_OF["court"](Summary(study, empty), view) == ""


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("algo: grpo", "algo: grpoo", 8, "'grpoo'"),
        ("    lr: 2e-4", "    lrr: 2e-4", 12, "did you mean lr"),
        ("0.5x", "half", 11, "target_entropy='half'"),
        ("  n: 8", "  m: 8", 15, "evaluation: unknown key 'm'"),
        ("  n: 8", "  n: 0", 15, "n=0 must be"),
        ("  n: 8", "  n: 8\n  suites: [aepo_countdown5]", 13, "did you mean aepo_countdown4"),
        ("  n: 8", "  n: 8\n  max_new_tokens: 600", 16, "but the model's context is 512; lower max_new_tokens"),
        ("completions: 100", "completions: 10", 8, "completions=10 is less than the 128"),
        ("passk: [base model, held]", "passk: {suites: [aepo_countdown4]}", 19, "evaluated are aepo_arithmetic"),
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


def test_the_best_checkpoint_needs_checkpoints_with_a_score_and_a_model() -> None:
    settings, config = RunSettings(checkpoint_every=10), GRPOConfig().evaluation(evaluation_interval=15)
    assert checkpoints_to_keep(settings, config, 30) > 3
    with pytest.raises(ValueError, match="evaluation_interval=15 and checkpoint_every=10 meet in none of 29 steps"):
        checkpoints_to_keep(settings, config, 29)
    with pytest.raises(ValueError, match="export_checkpoints=False writes none"):
        checkpoints_to_keep(settings, config.checkpointing(export_checkpoints=False), 30)


def test_a_name_is_a_shipped_study_or_a_file(tmp_path: Path) -> None:
    assert find_study("court") == shipped()["court"]
    with pytest.raises(ValueError, match=r"no study 'cort'; did you mean court\?"):
        find_study("cort")
    assert "court  The court" in here("study", "--list")


def test_an_unknown_arm_is_refused(tmp_path: Path) -> None:
    output = here("court", "--only", "aepo 0.7x", "-o", tmp_path, code=2)
    assert "--only: unknown arm, figure or table 'aepo 0.7x'; did you mean aepo 0.75x" in output


def test_every_shipped_study_can_be_planned_and_compares_equal_completions(tmp_path: Path) -> None:
    from aepo_rllib.cli.study.plan import plan

    for path in shipped().values():
        file = StudyFile(path)
        study = read_study(file)
        if "quick" in file.values:
            read_study(file, quick=True)
        elsewhere = "num_gpus_per_learner" in file.values.get("settings", {})
        planned = plan(study, file, tmp_path, elsewhere=elsewhere)
        trials = [trial for trial in planned if trial.values is not None]
        assert len(trials) == len(study.arms) * len(study.seeds)
        assert len({trial.folder for trial in trials}) == len(trials)
        for trial in trials:
            spare = (study.completions or 0) - trial.steps * trial.per_step
            assert 0 <= spare < trial.per_step if study.completions else trial.steps == study.steps


def test_the_papers_size_has_the_settings_of_its_recipe() -> None:
    settings = dict(StudyFile(shipped()["paper_7b"]).values["settings"])
    recipe = read_mapping(recipes()["qwen2.5-math-7b-8x80gb"])
    assert settings == {key: recipe[key] for key in recipe.keys() - {"algo", "steps", "target_entropy"}}


def test_elsewhere_names_and_values_are_checked_and_nothing_is_run(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    far = "settings:\n  model_path: org/model\n  env_config: {problems: org/problems}\n  engine: vllm"
    file.write_text(GOOD.replace("settings:", far).replace("completions: 100", "completions: 1000"))
    assert "5 trials, 5 of them left" in here("study", file, "--dry-run", "--elsewhere")
    assert "give --dry-run as well" in here("study", file, "--elsewhere", code=2)
    file.write_text(file.read_text().replace("0.5x", "0.5x\n    temperature_low: 1.5"))
    output = here("study", file, "--dry-run", "--elsewhere", code=2)
    assert f"{file}:15: arms.held: temperature_low=1.5 must be below" in output


def test_an_evaluation_on_a_gpu_takes_the_place_of_a_runs_actors_or_one_of_its_own() -> None:
    run = [{"CPU": 1, "GPU": 0}, {"CPU": 1, "GPU": 1}, {"CPU": 0, "GPU": 2}]
    assert with_evaluation(run, 1) == with_evaluation(run, 0) == run
    assert with_evaluation(run, 2) == [*run, {"CPU": 1, "GPU": 2}]  # a task takes a CPU, too
    assert with_evaluation([{"CPU": 1}], 0.5) == [{"CPU": 1}, {"CPU": 1, "GPU": 0.5}]


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


@pytest.mark.parametrize(("high", "target"), [(1.2, 0.4), (0.8, None)])
def test_a_dial_that_stands_still_has_no_target(tmp_path: Path, high: float, target: float | None) -> None:
    trial = Trial("mine", 0, tmp_path, {"steps": 1}, "embedded", 4, dial=Dial("temperature", 0.8, high))
    (tmp_path / "huggingface").mkdir()
    (tmp_path / "huggingface" / "aepo.json").write_text('{"step": 1}')
    record = {"step": 1, "main/exact_entropy": 0.5, "control/target_entropy": 0.4, "control/temperature": 0.8}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    [row] = gather(Study("mine", "", {}, (0,)), [trial]).steps.to_dict("records")
    assert (row["entropy"], row["setting"], row["completions"]) == (0.5, 0.8, 4)
    assert row["target"] == target if target else math.isnan(row["target"])


def test_folders_tell_arms_apart_that_differ_in_a_point() -> None:
    assert folder_name("AEPO 0.5x, alpha 2") == "aepo-0.5x-alpha-2"
