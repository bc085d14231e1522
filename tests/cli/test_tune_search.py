"""A search is refused before Ray starts where it cannot be, with the option or the line; and looks when it says."""

from __future__ import annotations

import json
import math
import random
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from aepo_rllib.cli.tune.ledger import STOPPED, Ledger, Trial
from aepo_rllib.cli.tune.objective import TRACKING, Objective
from aepo_rllib.cli.tune.plan import Plan, evaluation_interval, looks_of
from aepo_rllib.cli.tune.population import explored, quantiles
from aepo_rllib.cli.tune.proposals import proposed
from aepo_rllib.cli.tune.search import Search, read_search
from aepo_rllib.cli.tune.space import parse_distribution
from tests.support.command import here

GOOD = """\
settings:
  algo: aepo
  steps: 40
space:
  lr: loguniform(1e-4, 2e-3)
  target_entropy: choice(0.5x, 0.75x)
metric: evaluation/pass@1
scheduler: asha
samples: 3
"""


def refused(folder: Path, *arguments: Any, text: str = "") -> str:
    """What is said of a search that cannot be; nothing is written."""
    file = folder / "mine.yaml"
    file.write_text(text)
    output = here("tune", *([file] if text else []), *arguments, "-o", folder / "out", code=2)
    assert not (folder / "out").exists()
    return output.rpartition("Error: ")[2]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("alhpa=uniform(0, 1)", "unknown config key 'alhpa'; did you mean alpha?"),
        ("lr=lognormal(0, 1)", "unknown distribution 'lognormal'; did you mean loguniform?; there are uniform(LOW,"),
        ("alpha=uniform(-1, 3)", "alpha=-1.0 must be a number at least 0"),
        ("target_entropy=choice(0.5x, half)", "target_entropy='half'"),
        ("batch_size=uniform(2, 8)", "batch_size=2.0 must be a whole number"),
        ("controller=choice(switch, swich)", "unknown controller 'swich'"),
        ("env_config.template=choice(plain, boxd)", "unknown prompt template 'boxd'"),
        ("env_config.templat=choice(plain)", "'templat'"),
        ("algo=choice(aepo, grpoo)", "'grpoo'"),
        ("steps=randint(1, 9)", "steps is the search's"),
        ("evaluation_interval=randint(1, 9)", "needs evaluations at the same steps of all trials"),
    ],
)
def test_a_part_of_the_space_is_refused_with_the_option_as_it_was_typed(
    tmp_path: Path, space: str, message: str
) -> None:
    output = refused(tmp_path, "--space", space)
    assert output.startswith(f"--space {space}: ")
    assert message in output


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("samples: 3", "sampels: 3", 9, "unknown key 'sampels'; did you mean samples"),
        ("samples: 3", "samples: 0", 9, "samples=0 must be"),
        ("scheduler: asha", "scheduler: ash", 8, "scheduler='ash' must be one of none, asha, pbt"),
        ("evaluation/pass@1", "evaluation/pass_1", 7, "unknown metric 'evaluation/pass_1'; did you mean evaluation/"),
        ("evaluation/pass@1", "main/completion_tokens", 7, "say whether more of it is better"),
        ("evaluation/pass@1", "pass@8", 8, "pass@8 is known at their end"),
        ("  lr: loguniform(1e-4, 2e-3)", "  lr: loguniform(0, 2e-3)", 5, "a logarithm needs LOW above 0"),
        ("  lr: loguniform(1e-4, 2e-3)", "  lr: uniform(-1, 2e-3)", 5, "lr=-1.0 must be"),
        ("  lr: loguniform(1e-4, 2e-3)", "  lr: 3", 5, "not a distribution"),
        ("  steps: 40", "  stepz: 40", 3, "unknown config key 'stepz'"),
        ("  steps: 40", "  steps: 0", 3, "steps=0 must be"),
        ("  steps: 40", "  steps: 40\n  evaluation_interval: null", 4, "needs evaluations"),
        ("  steps: 40", "  steps: 40\n  evaluation_interval: 39", 4, "no evaluation in the 20 steps up to step 5"),
        ("samples: 3", "grace_period: 40", 9, "grace_period=40 leaves nothing of 40 steps"),
        ("samples: 3", "perturbation_interval: 4", 9, "does nothing with scheduler asha"),
        ("samples: 3", "evaluation: {n: 4}", 9, "evaluation does nothing without a baseline"),
        ("samples: 3", "search: grid", 5, "a grid needs values that can be listed"),
    ],
)
def test_a_bad_file_is_refused_with_line_and_key(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    assert GOOD.count(old) == 1
    output = refused(tmp_path, text=GOOD.replace(old, new))
    assert output.startswith(f"{tmp_path}/mine.yaml:{line}: ")
    assert message in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--space", "lr=uniform(0, 1)", "--space", "lr=uniform(0, 2)"], "lr is given twice"),
        (["--space", "lr"], "expected KEY=DISTRIBUTION"),
        ([], "there is nothing to search over"),
        (["--algo", "grpo", "--space", "lr=uniform(0.1, 1)", "--metric", TRACKING], "this method has none"),
        (["--space", "dtype=choice(float32)", "--scheduler", "pbt"], "dtype cannot: only numbers"),
        (["--space", "lora_rank=choice(4, 8)", "--scheduler", "pbt"], "lora_rank cannot"),
        (["--space", "lr=choice(1e-3)", "--scheduler", "pbt", "--search", "grid"], "leave search grid out"),
        (["--space", "batch_size=choice(2, 4)", "--space", "updates_per_batch=choice(1, 4)"], "updates_per_batch=4"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    assert message in refused(tmp_path, *arguments)


def test_optuna_is_asked_for_by_the_name_of_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aepo_rllib.cli.tune.plan.find_spec", lambda name: None)
    assert 'pip install "aepo-rllib[optuna]"' in refused(tmp_path, "--space", "lr=uniform(0, 1)", "--search", "optuna")


def test_file_and_command_line_say_the_same_and_the_command_line_wins(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD)
    same = [
        "--algo",
        "aepo",
        "--steps",
        40,
        "--scheduler",
        "asha",
        "--samples",
        3,
        "--space",
        "lr=loguniform(1e-4,2e-3)",
    ]
    typed = here("tune", *same, "--space", "target_entropy=choice(0.5x,0.75x)", "-o", tmp_path / "o", "--dry-run")
    read = here("tune", tmp_path / "mine.yaml", "--dry-run")
    assert yaml.safe_load(typed.partition("\n")[2]) == yaml.safe_load(read.partition("\n")[2])
    told = yaml.safe_load(here("tune", tmp_path / "mine.yaml", "--samples", 5, "--dry-run").partition("\n")[2])
    assert told["trials"][:3] == yaml.safe_load(read.partition("\n")[2])["trials"]
    assert len(told["trials"]) == 5
    assert (told["looks"], told["settings"]["evaluation_interval"]) == ([5, 20, 40], 5)
    again = tmp_path / "search.yaml"
    again.write_text(yaml.safe_dump({key: told[key] for key in told.keys() - {"looks", "trials"}}))
    assert read_search(again, {})[0].plain() == {key: told[key] for key in told.keys() - {"looks", "trials"}}


@pytest.mark.parametrize("scheduler", ["none", "asha", "pbt"])
def test_there_is_an_evaluation_within_the_window_of_every_look(scheduler: str) -> None:
    space = {"lr": parse_distribution("uniform(0, 1)")}
    for steps, window in ((steps, window) for steps in (1, 2, 7, 39, 40, 200, 331) for window in (1, 3, 20)):
        search = Search({"steps": steps}, space, window=window, scheduler=scheduler)
        looks = looks_of(search)
        interval = evaluation_interval(search, 20, looks)
        evaluated = {step for step in range(1, steps + 1) if step % interval == 0}
        assert all(evaluated & set(range(look - window + 1, look + 1)) for look in looks)
        assert looks[-1] == steps
        assert list(looks) == sorted(set(looks))


def test_rungs_are_those_of_tune() -> None:
    from ray.tune.schedulers import ASHAScheduler

    for steps, grace, factor in ((200, 25, 4), (100, 3, 2), (7, 1, 3), (64, 4, 4)):
        search = Search({"steps": steps}, {}, scheduler="asha", grace_period=grace, reduction_factor=factor)
        theirs = ASHAScheduler(max_t=steps, grace_period=grace, reduction_factor=factor)._brackets[0]._rungs
        assert sorted({rung for rung, _ in theirs} | {steps}) == list(looks_of(search))


def test_values_are_means_of_the_last_steps_and_what_is_not_known_is_worst() -> None:
    records = [
        {"main/exact_entropy": h, "control/target_entropy": 2.0, "main/reward_mean": h / 2} for h in (9, 1, 2, 4)
    ]
    assert Objective.of("main/reward_mean", None, 3).value(records) == pytest.approx((1 + 2 + 4) / 6)
    assert Objective.of(TRACKING, None, 2).value(records) == pytest.approx(abs(3 - 2) / 2)
    evaluated = [{}, {"evaluation/pass@1": 0.25}, {}, {"evaluation/pass@1": 0.75}, {}]
    assert Objective.of("evaluation/pass@1", None, 4).value(evaluated) == 0.5
    assert Objective.of("evaluation/pass@1", None, 2).value(evaluated) == 0.75
    low, high = Objective.of(TRACKING, None, 2), Objective.of("pass@4", None, 2)
    assert low.rank(0.1) > low.rank(0.2) > low.rank(math.nan) == high.rank(math.nan)
    assert high.rank(0.2) > high.rank(0.1)
    assert math.isnan(low.value([]))


def test_trials_that_would_come_to_the_same_are_one() -> None:
    space = {"lr": parse_distribution("choice(1, 2)"), "alpha": parse_distribution("grid(1, 2, 3)")}
    found = [tuple(each.values()) for each in proposed(Search({}, space, samples=30))]
    assert sorted(found) == [(lr, alpha) for lr in (1, 2) for alpha in (1, 2, 3)]


def decisions(folder: Path, reports: list[tuple[str, int]], values: np.ndarray, kills: set[int]) -> list[str]:
    """What ASHA decides of reports, one after the other, where its process is killed before some of them."""
    from aepo_rllib.cli.tune.running import Halving

    search = Search({"steps": 8}, {}, scheduler="asha", grace_period=1, reduction_factor=2)
    plan = Plan(folder, {}, Objective.of("main/reward_mean", None, 1), looks_of(search))
    ledger = Ledger(folder, 8)
    for number in range(len(values)):
        ledger.write(Trial(f"trial-{number + 1:03d}"))
        ledger.folder(f"trial-{number + 1:03d}").mkdir()
    scheduler, decided = Halving(search, plan, ledger), []
    for place, (name, step) in enumerate(reports):
        if ledger.trials[name].ended:
            continue
        number = int(name[-3:]) - 1
        lines = [json.dumps({"step": s + 1, "main/reward_mean": values[number, s]}) + "\n" for s in range(step + 1)]
        (ledger.folder(name) / "metrics.jsonl").write_text("".join(lines[:step]))
        if place in kills:
            ledger = Ledger(folder, 8)
            scheduler = Halving(search, plan, ledger)
        result = {"step": step, "value": values[number, step - 1], "failure": ""}
        decided.append(scheduler.on_trial_result(None, SimpleNamespace(config={"trial": name}), result))
        assert (ledger.trials[name].ended == STOPPED) == (decided[-1] == "STOP")
        if not ledger.trials[name].ended:
            (ledger.folder(name) / "metrics.jsonl").write_text("".join(lines))
    return decided


def test_asha_decides_after_any_kills_as_it_would_have_without(tmp_path: Path) -> None:
    stopped = 0
    for seed in range(12):
        chance, values = random.Random(seed), np.random.default_rng(seed).random((6, 8))
        # Each trial's looks in their order, those of all trials mixed.
        order = [f"trial-{number:03d}" for number in (1, 2, 3, 4, 5, 6) for _ in range(3)]
        chance.shuffle(order)
        reports = [(name, (1, 2, 4)[order[:place].count(name)]) for place, name in enumerate(order)]
        folders = [tmp_path / f"{seed}-{which}" for which in ("whole", "killed")]
        for folder in folders:
            folder.mkdir()
        whole = decisions(folders[0], reports, values, set())
        assert decisions(folders[1], reports, values, {*chance.sample(range(18), 8)}) == whole
        stopped += whole.count("STOP")
    assert 20 < stopped < 70


def test_the_worst_become_copies_of_the_best_and_values_stay_in_their_ranges() -> None:
    assert quantiles({"a": 3, "b": 1, "c": -math.inf, "d": 2}, 0.25) == (["c"], ["a"])
    assert quantiles({"a": 3, "b": 1, "c": 2}, 0.5) == (["b"], ["a"])
    assert quantiles({"a": 3}, 0.5) == ([], [])
    space = {"lr": parse_distribution("loguniform(1e-4, 1e-3)"), "alpha": parse_distribution("choice(1, 2, 4)")}
    search, rng = Search({}, space, scheduler="pbt", resample_probability=0.0), np.random.default_rng(0)
    seen = [explored(search, {"lr": 9e-4, "alpha": 4}, rng) for _ in range(200)]
    assert {round(each["lr"], 9) for each in seen} == {7.2e-4, 1e-3}  # times 0.8, and 1.2 cut at the end
    assert {each["alpha"] for each in seen} == {2, 4}
    anew = [explored(Search({}, space, resample_probability=1.0), seen[0], rng)["alpha"] for _ in range(50)]
    assert set(anew) == {1, 2, 4}


def test_a_damaged_note_is_named(tmp_path: Path) -> None:
    (tmp_path / "trial-001.json").write_text('{"name": "trial-002"}')
    with pytest.raises(ValueError, match=r"trial-001\.json is damaged"):
        Ledger(tmp_path, 2)


def test_the_search_that_the_document_shows_can_be_and_its_command_says_the_same(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "tune.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    command = shlex.split(
        re.findall(r"^aepo (tune --space.*?)\n(?=aepo)", text, re.DOTALL | re.MULTILINE)[0].replace("\\\n", "")
    )
    (tmp_path / "search.yaml").write_text(shown)
    read = yaml.safe_load(here("tune", tmp_path / "search.yaml", "--dry-run").partition("\n")[2])
    typed = yaml.safe_load(here(*command, "--baseline", "--dry-run").partition("\n")[2])
    assert read == typed
    assert len(read["trials"]) == 12
    assert read["looks"] == [25, 100, 200]
