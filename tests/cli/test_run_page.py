"""A run's page holds what it was given, trusts none of it, and is drawn without ever ending the run."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
import yaml

from aepo_rllib.cli.pictures import SHARE, Pictures, run_title
from aepo_rllib.cli.plots import WINDOW, running_mean
from aepo_rllib.cli.run_folder import CONFIG, METRICS, PAGE, SAMPLES, WARNINGS, RunFolder
from aepo_rllib.cli.run_page import LONGEST_TEXT, ShownRun, shown_samples, write_run_page
from tests.eval.test_browser import HOSTILE, Page, chromium, visible  # noqa: F401 - a fixture

STEPS = 30


def record(step, **figures):
    return {
        "step": step,
        "time": 1.0,
        "main/reward_mean": 0.3 + 0.01 * step,
        "main/exact_entropy": 0.9 - 0.01 * step,
        "main/truncated_share": 0.0,
        "main/completion_tokens": 20.0,
        "control/target_entropy": 0.5,
        "control/base_entropy": 0.9,
        "control/temperature": 1.2 if step % 3 else 0.8,
        "throughput/completions_per_second": 100.0,
        **({"evaluation/pass@1": 0.3 + 0.01 * step} if step % 10 == 0 else {}),
        **figures,
    }


def sample(step, text, stream="main"):
    return {
        **{"step": step, "stream": stream, "prompt": text, "completion": f"{text}\\boxed{{1}}", "verdict": "wrong"},
        **{"answer": text, "gold": text, "reward": 0.0, "finish_reason": "length"},
    }


RECORDS = [record(step) for step in range(1, STEPS + 1)]


def hostile_run(title=HOSTILE[0]):
    samples = [sample(step, text) for step, text in enumerate(HOSTILE, start=1)]
    samples.append({"step": STEPS, "prompt": "p", "completion": "c", "reward": 1.0, "turns": [["system", HOSTILE[1]]]})
    warnings = [{"step": 3, "text": text} for text in HOSTILE]
    return ShownRun(title, STEPS, {"model_path": HOSTILE[0], "algo": "aepo"}, RECORDS, samples, warnings)


def test_it_holds_exactly_what_it_was_given(tmp_path):
    page = Page(write_run_page(hostile_run(), tmp_path / "run.html"))
    run, samples = page.data["run"], page.data["samples"]
    assert page.title == HOSTILE[0] == run["title"]
    assert run["warnings"] == list(HOSTILE)
    assert yaml.safe_load(run["config"]) == {"model_path": HOSTILE[0], "algo": "aepo"}
    assert [sample["prompt"] for sample in samples["samples"][:-1]] == list(HOSTILE)
    assert samples["samples"][-1]["prompt"] == f"[system]\n{HOSTILE[1]}\n[user]\np"
    assert samples["total"] == len(HOSTILE) + 1


def test_no_text_becomes_markup_and_nothing_is_loaded(tmp_path):
    tame = Page(write_run_page(ShownRun("", STEPS, {}, RECORDS), tmp_path / "tame.html"))
    file = write_run_page(hostile_run("".join(HOSTILE)), tmp_path / "run.html")
    page, text = Page(file), file.read_bytes()
    assert Counter(tag for tag, _ in page.tags) == Counter(tag for tag, _ in tame.tags)
    assert text.isascii()
    assert b"<!--" not in text
    assert not re.search(rb"https?:|\bsrc=\"|url\(|@import|<link| style=| on\w+=\"", text)
    (policy,) = (attrs["content"] for tag, attrs in page.tags if tag == "meta" and "Policy" in str(attrs))
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy


def test_every_line_of_a_chart_stands_inside_it(tmp_path):
    spread = [record(step, **{"main/reward_mean": value}) for step, value in enumerate((-3.0, 1e6, 0.1), start=1)]
    for records in (RECORDS, RECORDS[:1], spread, [record(1, **{"control/temperature": 1.0})]):
        page = Page(write_run_page(ShownRun("", STEPS, {}, records), tmp_path / "run.html"))
        lines = [attrs["points"] for tag, attrs in page.tags if tag == "polyline"]
        assert len(lines) >= 5
        for x, y in (map(float, point.split(",")) for line in lines for point in line.split()):
            assert 0 <= x <= 460
            assert 0 <= y <= 230


def test_of_too_many_samples_those_of_evenly_spaced_steps_are_shown():
    samples = [sample(step, "x" * 100) for step in range(1, 1001) for _ in range(3)]
    shown = shown_samples(samples, most=30_000)
    steps = sorted({shown["step"] for shown in shown})
    assert (steps[0], steps[-1]) == (1, 1000)
    assert max(np.diff(steps)) <= min(np.diff(steps)) + 1
    assert all(sum(other["step"] == step for other in shown) == 3 for step in steps)
    assert sum(len(s["prompt"] + s["completion"]) for s in shown) <= 33_000
    assert shown_samples(samples) == samples


def test_a_megabyte_is_cut_in_its_middle(tmp_path):
    run = ShownRun("", 1, {}, RECORDS[:1], [sample(1, "begin" + "x" * 10**6 + "end")])
    [shown] = Page(write_run_page(run, tmp_path / "run.html")).data["samples"]["samples"]
    assert shown["prompt"].startswith("begin")
    assert shown["prompt"].endswith("end")
    assert len(shown["prompt"]) < LONGEST_TEXT + 100


def test_the_running_mean_is_centred():
    rng = np.random.default_rng(0)
    for size in (1, 2, 19, 20, 21, 77):
        values = rng.normal(size=size)
        by_hand = [np.mean(values[max(0, place - WINDOW // 2) : place + WINDOW // 2]) for place in range(size)]
        assert running_mean(values, WINDOW) == pytest.approx(by_hand)
    ramp = np.arange(100.0)
    assert abs(running_mean(ramp)[50] - 50) <= 0.5, "a trailing mean would be 9.5 behind"


# ---- In a run's folder


@pytest.fixture
def folder(tmp_path):
    with RunFolder.create(tmp_path / "a run", {"algo": "aepo", "model_path": "m", "target_entropy": "0.5x"}) as run:
        for line in RECORDS:
            run.append(METRICS, line)
            run.append(SAMPLES, sample(line["step"], "Add 1 2."))
        run.append(WARNINGS, {"step": 3, "text": "step 3: something"})
    return run


def test_the_pictures_of_a_run_are_drawn_with_its_name(folder):
    assert Pictures(folder, 200).refresh() is None
    page = Page(folder.path / PAGE)
    assert (
        page.title == f"{folder.path}: aepo on m, target entropy 0.5x" == run_title(str(folder.path), folder.config())
    )
    assert page.data["run"]["state"].startswith("step 30 of 200, as of")
    assert page.data["run"]["warnings"] == ["step 3: something"]
    assert Pictures(folder, 200).refresh(final=True) is None
    assert Page(folder.path / PAGE).data["run"]["state"].startswith("step 30 of 200, ended")
    for name in ("entropy.png", "reward.png"):
        assert (folder.path / name).read_bytes().startswith(b"\x89PNG")
    assert not list(folder.path.glob(".*.tmp"))


@pytest.mark.parametrize("name", [CONFIG, METRICS, SAMPLES])
def test_a_folder_that_cannot_be_drawn_ends_no_run_and_keeps_its_older_pictures(folder, name):
    pictures = Pictures(folder, 200)
    assert pictures.refresh() is None
    before = (folder.path / PAGE).read_bytes()
    (folder.path / name).write_text("damaged\n" * 3)
    assert isinstance(pictures.refresh(final=True), ValueError)
    assert (folder.path / PAGE).read_bytes() == before
    (folder.path / name).unlink()
    (folder.path / name).mkdir()
    assert isinstance(pictures.refresh(final=True), ValueError | OSError)


def test_drawing_takes_a_small_share_of_the_runs_time(folder, monkeypatch):
    now, drawn, takes = [0.0], [], 2.0
    pictures = Pictures(folder, 200, clock=lambda: now[0])

    def draw(*, ended):
        drawn.append(now[0])
        now[0] += takes

    monkeypatch.setattr(pictures, "_draw", draw)
    for _ in range(1000):
        now[0] += 1
        pictures.refresh()
    assert 0.6 * SHARE < takes * len(drawn) / now[0] <= SHARE * 1.05
    count = len(drawn)
    pictures.refresh(final=True)
    assert len(drawn) == count + 1


@pytest.mark.process
def test_in_a_browser(tmp_path, chromium):  # noqa: F811
    url = write_run_page(hostile_run(), tmp_path / "run.html").as_uri()
    chromium.open(url)
    assert chromium.text("#title") == visible(HOSTILE[0])
    assert chromium.texts(".warning") == [visible(text) for text in HOSTILE]
    assert chromium.text("#count") == f"{len(HOSTILE) + 1} completions"
    first = "document.querySelector('.sample')"
    assert chromium.evaluate(f"{first}.querySelector('.badge').textContent") == "reward 1"
    chromium.evaluate("$('verdict').selectedIndex = 2; $('verdict').dispatchEvent(new Event('input'))")
    assert chromium.text("#count") == f"{len(HOSTILE)} of {len(HOSTILE) + 1} completions"
    chromium.evaluate("$('order').selectedIndex = 1; $('order').dispatchEvent(new Event('input'))")
    assert chromium.evaluate("[...document.querySelectorAll('.step')].map(x => x.textContent)[1]") == "step 2"
    for width in (390, 1280):
        chromium.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        assert chromium.evaluate("document.documentElement.scrollWidth") <= width
    assert chromium.evaluate("window.hacked") is None
    assert not chromium.heard("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    assert {request["documentURL"] for request in chromium.heard("Network.requestWillBeSent")} == {url}
