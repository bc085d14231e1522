"""`aepo plot`: runs that differ in their seed alone are one curve, its mean and band are those of the runs."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from aepo_rllib.cli.overlay import PANELS, draw_overlay, read_curves
from aepo_rllib.cli.run_folder import METRICS, RunFolder
from tests.support.command import here

STEPS, WINDOW = 25, 5
ENTROPY = "main/exact_entropy"


def write_run(path: Path, *, seed: int = 0, steps: int = STEPS, algo: str = "grpo", **settings: object) -> Path:
    rng = np.random.default_rng(seed)
    with RunFolder.create(path, {"algo": algo, "steps": steps, "seed": seed, **settings}) as run:
        for step in range(1, steps + 1):
            figures = {ENTROPY: rng.random(), "main/reward_mean": rng.random()}
            scores = {"evaluation/pass@1": rng.random()} if step % 10 == 0 else {}
            run.append(METRICS, {"step": step, **figures, **scores})
    return path


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    seeds = [write_run(tmp_path / f"grpo-{seed}", seed=seed) for seed in range(3)]
    return [*seeds, write_run(tmp_path / "aepo-0", algo="aepo", alpha=1.0), write_run(tmp_path / "lr", lr=2e-6)]


def values(run: Path, name: str) -> list[float]:
    return [record[name] for record in RunFolder(run).read(METRICS)]


def curves_of(runs: list[Path], **how: tuple[str, ...]) -> dict[str, int]:
    return {curve.label: len(curve.runs) for curve in read_curves([(None, run) for run in runs], **how)}


def test_runs_that_differ_in_their_seed_alone_are_one_curve(runs: list[Path]) -> None:
    assert curves_of(runs) == {"grpo-0 (3 runs)": 3, "aepo": 1, "lr": 1}
    assert curves_of(runs[:4]) == {"grpo (3 runs)": 3, "aepo": 1}
    assert curves_of(runs[:3], by=()) == {"seed=0": 1, "seed=1": 1, "seed=2": 1}
    assert curves_of([*runs[:2], runs[3]], by=("seed", "algo", "alpha")) != curves_of([*runs[:2], runs[3]])


def test_how_long_a_run_was_makes_no_other_curve(tmp_path: Path) -> None:
    longer = write_run(tmp_path / "b", seed=1, steps=40, checkpoint_every=7)
    assert list(curves_of([write_run(tmp_path / "a", checkpoint_every=9), longer]).values()) == [2]


def test_runs_of_one_label_are_one_curve_in_the_order_they_were_given(runs: list[Path]) -> None:
    curves = read_curves([(None, runs[3]), ("x", runs[0]), (None, runs[4]), ("x", runs[1])])
    assert [(curve.label, len(curve.runs)) for curve in curves] == [("aepo", 1), ("x (2 runs)", 2), ("grpo", 1)]


def test_mean_and_band_are_those_of_the_runs(runs: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawn: list[plt.Figure] = []
    monkeypatch.setattr("aepo_rllib.cli.plots.save", lambda plt, figure, file: drawn.append(figure))
    draw_overlay(read_curves([(None, run) for run in runs[:3]]), ["entropy", "pass@1"], tmp_path / "x", window=WINDOW)
    top, bottom = drawn[0].axes
    smooth = np.array(
        [
            [np.mean(run[max(0, place - WINDOW // 2) : place + WINDOW // 2 + 1]) for place in range(STEPS)]
            for run in (values(run, ENTROPY) for run in runs[:3])
        ]
    )
    assert top.lines[0].get_xdata() == pytest.approx(np.arange(1, STEPS + 1))
    assert top.lines[0].get_ydata() == pytest.approx(smooth.mean(axis=0))
    [band] = top.collections
    seen = band.get_paths()[0].vertices
    for place in range(STEPS):
        at = seen[seen[:, 0] == place + 1][:, 1]
        assert (at.min(), at.max()) == pytest.approx((smooth[:, place].min(), smooth[:, place].max()))
    scores = np.array([[r["evaluation/pass@1"] for r in RunFolder(run).read(METRICS)[9::10]] for run in runs[:3]])
    assert bottom.lines[0].get_xdata() == pytest.approx([10, 20])
    assert bottom.lines[0].get_ydata() == pytest.approx(scores.mean(axis=0))
    plt.close(drawn[0])


def test_the_command_draws_what_there_is(runs: list[Path], tmp_path: Path) -> None:
    for name in ("some.png", "some.svg"):
        said = here("plot", f"first={runs[0]}", *runs[1:3], "-o", tmp_path / name)
        assert said.split("\n")[:2] == ["first", "grpo-1 (2 runs)"]
        assert (tmp_path / name).stat().st_size > 5000
    assert "main/reward_mean" in here("plot", runs[0], "--metric", "main/reward_maen", "-o", tmp_path / "x.png", code=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no folder 'nowhere'"),
        (["."], "is no run directory"),
        (["empty"], "empty has no finished step yet"),
        (["grpo-0", "-o", "x.doc"], "'x.doc' must end with .png, .pdf, .svg"),
        (["grpo-0", "--metric", "entrpy"], "no run has the metric 'entrpy'; did you mean entropy"),
        (["grpo-0", "--window", "0"], "--window"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "empty", steps=0)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert message in here("plot", *arguments, code=2)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before


def test_every_short_name_stands_for_metrics_that_are_documented() -> None:
    from aepo_rllib import metrics_page

    documented = {metric.key for metric in metrics_page.DOCUMENTED}
    assert {name for names in PANELS.values() for name in names} <= documented
