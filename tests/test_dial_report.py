"""The figures of docs/dial.md, on runs whose answers are known."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "dial"))

import report
from variants import VARIANTS, Run


def made_run(name, seed, entropy, *, target=np.nan, temperature=np.nan, reward=0.5):
    steps = np.arange(1, 101)
    return pd.DataFrame(
        {
            "run": name,
            "seed": seed,
            "step": steps,
            "entropy": entropy,
            "base_entropy": 1.0,
            "target_entropy": target,
            "temperature": temperature,
            "reward": reward,
        }
    )


def test_summary_by_hand():
    settled = np.where(np.arange(1, 101) <= 50, 0.9, 0.5)
    settled[80:] = 0.52  # the last 20 steps are 4 % off
    steps = pd.concat(
        [
            made_run("GRPO", 0, 0.7, reward=0.4),
            made_run("GRPO", 1, 0.6, reward=0.6),
            made_run("AEPO 0.5x", 0, settled, target=0.5, temperature=1.2, reward=0.45),
            made_run(
                "AEPO 0.5x", 1, settled, target=0.5, temperature=np.where(np.arange(100) % 2, 1.2, 0.8), reward=0.61
            ),
        ]
    )
    summary = report.summarize(steps)
    first, second = summary.loc["AEPO 0.5x"].loc[0], summary.loc["AEPO 0.5x"].loc[1]
    assert first.error == pytest.approx(0.04)  # windows that reach into the first half are no settled ones
    assert first.entropy == pytest.approx(0.508)
    assert (first.hot, second.hot) == (1.0, 0.5)
    assert first.final == pytest.approx(0.52)
    assert (first.reward_paired, second.reward_paired) == pytest.approx((0.05, 0.01))
    table = report._runs_table(summary, ["GRPO", "AEPO 0.5x"])
    assert "| GRPO | - | 0.700, 0.600 |" in table
    assert "0.450, 0.610 (+0.030 ± 0.020)" in table


def test_a_section_is_replaced_and_the_rest_is_left_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->\nold\n<!-- /a -->\nafter \\1\n")
    report.replace_section(page, "a", r"new \1")
    assert page.read_text() == "before\n<!-- a -->\nnew \\1\n<!-- /a -->\nafter \\1\n"
    with pytest.raises(ValueError, match="no section"):
        report.replace_section(page, "b", "x")


def test_runs_have_folders_of_their_own_and_settings_that_exist(tmp_path):
    from aepo_rllib.algorithms import ALGORITHMS

    runs = [Run(variant, seed, 400, tmp_path) for variant in VARIANTS for seed in (0, 1)]
    assert len({run.folder for run in runs}) == len(runs)
    for run in runs:
        ALGORITHMS[run.variant.algo]().update_from_dict(run.variant.settings).validate()
        assert not run.finished()
        assert run.train_command()[3] == "train"
    page = (Path(__file__).parents[1] / "docs" / "dial.md").read_text()
    for group in {variant.group for variant in VARIANTS} | {"passk"}:
        assert f"<!-- {group} -->" in page
