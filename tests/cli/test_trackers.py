"""Trackers, read back by the libraries' own readers; `aepo train --track` is in test_train.py."""

import html
import json
import logging
import math
import re
import struct
import time
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugin_util import markdown_to_safe_html
from tensorboard.plugins.hparams import plugin_data_pb2

from aepo_rllib.cli.errors import InputError
from aepo_rllib.cli.run_folder import RunFolder
from aepo_rllib.cli.settings import RunSettings, build
from aepo_rllib.cli.trackers import tracked, tracker_class
from aepo_rllib.cli.trackers.tracker import RunInfo, Tracker

mlflow = pytest.importorskip("mlflow")
pytest.importorskip("wandb")
CONFIG = {"algo": "aepo", "lr": 6e-4, "seed": 0, "target_entropy": None, "env_config": {"problems": "arithmetic"}}
HOSTILE = "a|b\n<script>*x* ![](http://a) `y`\x1b[2J"
SAMPLE = {"prompt": "Add 1 2.", "completion": HOSTILE, "verdict": "wrong", "reward": 0.0, "finish_reason": "length"}


def record(step):
    return {"step": step, "time": 1000.0 + step, "main/reward_mean": step / 10, "evaluation/pass@1": 0.5}


def leveldb_log(data):
    """The records of a file that `wandb sync` reads: LevelDB's log format, in blocks of 32 KiB."""
    assert data.startswith(b":W&B")
    at, parts = 7, []
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # no header fits into the rest of a block
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield b"".join(parts)
            parts = []


def hparams(events, end):
    data = events.SummaryMetadata(f"_hparams_/session_{end}_info").plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(data)


class Kept(Tracker):
    """A tracker of somebody else's, that breaks when it is told to."""

    told: ClassVar[list] = []

    def log(self, step, time, metrics):
        if step == 3:
            raise ConnectionError("no network")
        self.told.append((self.run.id, step, time, dict(metrics)))

    def finish(self, *, failed):
        self.told.append(("finish", failed))


class Closed(Tracker):
    def __init__(self, run):
        raise RuntimeError("not logged in\nsee elsewhere")


@pytest.fixture
def folder(tmp_path):
    with RunFolder.create(tmp_path / "run", CONFIG) as folder:
        yield folder


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "dial")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a store without a server or a database
    return mlflow.MlflowClient()


def test_one_that_fails_is_told_once_and_the_run_goes_on(folder, caplog):
    Kept.told.clear()
    with caplog.at_level(logging.WARNING), tracked(folder, [f"{__name__}:Kept"]) as trackers:
        for step in (1, 2, 3, 4):
            trackers.log(record(step))
    run_id = f"{folder.config_and_id()[1]}-run"
    metrics = {"main/reward_mean": 0.2, "evaluation/pass@1": 0.5}
    assert Kept.told[1] == (run_id, 2, 1002.0, metrics)
    assert [told[1] for told in Kept.told] == [1, 2, True]  # the last of the end, as far as it is concerned
    assert caplog.text.count("no network; the run is no longer shown there") == 1
    events = EventAccumulator(str(folder.path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("main/reward_mean")] == [1, 2, 3, 4]


def test_the_event_file_that_every_run_has_may_be_asked_for(folder):
    with tracked(folder, ["tensorboard", "tensorboard"]) as trackers:
        trackers.log(record(1))
    assert len(list((folder.path / "tensorboard").iterdir())) == 1


def test_all_are_told_how_the_run_ended(folder):
    Kept.told.clear()
    with pytest.raises(KeyError), tracked(folder, [f"{__name__}:Kept"]):
        raise KeyError
    assert Kept.told == [("finish", True)]


def test_one_that_cannot_be_used_is_refused_and_those_before_it_are_closed(folder):
    Kept.told.clear()
    with (
        pytest.raises(InputError, match="Closed: RuntimeError: not logged in"),
        tracked(folder, [f"{__name__}:Kept", f"{__name__}:Closed"]),
    ):
        raise AssertionError("the run was started")
    assert Kept.told == [("finish", True)]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wandbb", "did you mean"),
        ("json:dumps", "no subclass of Tracker"),
        ("no_such_module:Class", "cannot be imported"),
    ],
)
def test_unknown_trackers_are_refused_with_the_run_s_settings(name, words):
    with pytest.raises(ValueError, match=words):
        build({"track": [name]})
    with pytest.raises(ValueError, match="track="):
        RunSettings(track=3)


def test_a_package_that_is_missing_is_named_with_the_cure():
    class Missing(Tracker):
        NEEDS: ClassVar = {"no_such_package": "pip install it"}

    globals()["Missing"] = Missing
    with pytest.raises(ValueError, match="needs no_such_package, which is not installed: pip install it"):
        tracker_class(f"{__name__}:Missing")


def test_mlflow_has_metrics_parameters_and_completions(folder, server):
    with tracked(folder, ["mlflow"]) as trackers:
        trackers.show(0, [SAMPLE])
        trackers.log(record(1))
        trackers.log(record(2) | {"main/entropy": math.nan})
    [run] = server.search_runs([server.get_experiment_by_name("dial").experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    assert run.data.params == {"algo": "aepo", "lr": "0.0006", "seed": "0", "env_config.problems": "arithmetic"}
    rewards = server.get_metric_history(run.info.run_id, "main/reward_mean")
    assert [(each.step, each.value, each.timestamp) for each in rewards] == [(1, 0.1, 1001000), (2, 0.2, 1002000)]
    assert server.get_metric_history(run.info.run_id, "evaluation/pass_at_1")[0].value == 0.5
    names = {artifact.path for artifact in server.list_artifacts(run.info.run_id)}
    assert names == {"config.yaml", "completions.json"}
    read = {name: Path(server.download_artifacts(run.info.run_id, name)).read_text() for name in names}
    assert yaml.safe_load(read["config.yaml"]) == CONFIG
    [row] = json.loads(read["completions.json"])["data"]
    assert row == [0, SAMPLE["prompt"], HOSTILE, "wrong, cut off", 0.0]


def test_a_run_that_goes_on_is_the_same_run_of_mlflow(folder, server):
    def full():
        with tracked(folder, ["mlflow"]) as trackers:
            trackers.log(record(1))
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        full()
    experiment = server.get_experiment_by_name("dial").experiment_id
    assert server.search_runs([experiment])[0].info.status == "FAILED"
    folder.write_config(CONFIG | {"steps": 300}, folder.config_and_id()[1])  # a parameter of MLflow never changes
    with tracked(folder, ["mlflow"]) as trackers:
        trackers.log(record(2))
    [run] = server.search_runs([experiment])
    assert run.info.status == "FINISHED"
    assert [each.step for each in server.get_metric_history(run.info.run_id, "main/reward_mean")] == [1, 2]


def test_tensorboard_has_settings_and_completions_as_text_and_nothing_else(folder):
    with tracked(folder, []) as trackers:
        trackers.show(0, [SAMPLE])
        trackers.log(record(1))
    events = EventAccumulator(str(folder.path / "tensorboard"))
    events.Reload()
    [text] = events.Tensors("completions/text_summary")
    [shown] = text.tensor_proto.string_val
    assert b"<script" not in shown
    assert shown.count(b"\n") == 2
    rendered = markdown_to_safe_html(shown)
    cells = [html.unescape(cell) for cell in re.findall("<td>(.*?)</td>", rendered, re.DOTALL)]
    assert cells == [SAMPLE["prompt"], HOSTILE.replace("\n", "<br>").replace("\x1b", ""), "wrong, cut off"]
    for tag in ("<script", "<img", "<em", "<code"):
        assert tag not in rendered
    assert {tag for tags in events.Tags().values() if isinstance(tags, list) for tag in tags} == {
        "completions/text_summary",
        "main/reward_mean",
        "evaluation/pass_1",  # a tag of TensorBoard's has no @
    }
    given = hparams(events, "start").session_start_info.hparams
    shown = {key: getattr(value, value.WhichOneof("kind")) for key, value in given.items()}
    assert shown == {"algo": "aepo", "lr": 6e-4, "seed": 0, "env_config.problems": "arithmetic"}


@pytest.mark.process
def test_wandb_works_without_a_network(folder, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_PROJECT", "dial")
    with tracked(folder, ["wandb"]) as trackers:
        trackers.show(0, [SAMPLE])
        for step in (3, 4, 3):
            trackers.log(record(step))
    from wandb.proto.wandb_internal_pb2 import Record

    [file] = (folder.path / "wandb").glob("offline-run-*/run-*.wandb")
    found, patience = [], time.monotonic() + 60
    while not any(each.HasField("exit") for each in found) and time.monotonic() < patience:
        time.sleep(0.1)  # its own process writes the file
        found = [Record.FromString(data) for data in leveldb_log(file.read_bytes())]
    [run] = [each.run for each in found if each.HasField("run")]
    assert (run.run_id, run.project, run.display_name) == (f"{folder.config_and_id()[1]}-run", "dial", "run")
    history = [
        {item.key or "/".join(item.nested_key): item.value_json for item in each.history.item}
        for each in found
        if each.HasField("history")
    ]
    rewards = [(row["step"], row["main/reward_mean"]) for row in history if "main/reward_mean" in row]
    assert rewards == [("3", "0.3"), ("4", "0.4"), ("3", "0.3")]  # steps may be done again
    assert [key for row in history for key in row if key.startswith("completions")], history


def test_settings_are_flat_and_none_is_left_out(tmp_path):
    assert RunInfo(tmp_path, "", CONFIG).settings() == {
        "algo": "aepo",
        "lr": 6e-4,
        "seed": 0,
        "env_config.problems": "arithmetic",
    }


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_run_that_was_interrupted_is_not_told_to_be_finished(folder, server, interrupted):
    with tracked(folder, ["mlflow"]) as trackers:
        trackers.log(record(1))
        trackers.interrupted = interrupted
    [run] = server.search_runs([server.get_experiment_by_name("dial").experiment_id])
    assert run.info.status == ("FAILED" if interrupted else "FINISHED")
    events = EventAccumulator(str(folder.path / "tensorboard"))
    events.Reload()
    if interrupted:
        with pytest.raises(KeyError):
            hparams(events, "end")
    else:
        assert hparams(events, "end").session_end_info.status == 1


def test_names_that_mlflow_does_not_take_are_written_with_others(folder, server):
    plain, run_id = folder.config_and_id()
    folder.write_config(plain | {"env_config": {"problems": {"/data/a+b.jsonl": 1}}}, run_id)
    with tracked(folder, ["mlflow"]) as trackers:
        trackers.log(record(1) | {"main/mine (%)": 3.0})
    [run] = server.search_runs([server.get_experiment_by_name("dial").experiment_id])
    assert run.data.params["env_config.problems./data/a_b.jsonl"] == "1"
    assert run.data.metrics["main/mine ___"] == 3.0


def test_a_copy_of_a_run_is_a_run_of_its_own(folder, server, tmp_path):
    copied = RunFolder(tmp_path / "copy")
    copied.path.mkdir()
    plain, run_id = folder.config_and_id()
    copied.write_config(plain, run_id)  # as population based training does
    for each in (folder, copied):
        with tracked(each, ["mlflow"]) as trackers:
            trackers.log(record(1))
    runs = server.search_runs([server.get_experiment_by_name("dial").experiment_id])
    assert {run.info.run_name for run in runs} == {"run", "copy"}


def test_a_store_without_a_driver_is_refused_with_the_cure(folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    monkeypatch.setattr("aepo_rllib.cli.trackers.mlflow_run.find_spec", lambda name: None)
    with pytest.raises(InputError, match="set MLFLOW_TRACKING_URI to a server's address, or pip install mlflow"):
        tracked(folder, ["mlflow"]).__enter__()


def test_a_run_that_is_refused_at_its_start_leaves_no_folder(tmp_path):
    def refused(path):
        with RunFolder.create(path, CONFIG) as folder, tracked(folder, [f"{__name__}:Closed"]):
            raise AssertionError("the run was started")

    for made in (False, True):
        path = tmp_path / "refused"
        if made:
            path.mkdir()
        with pytest.raises(InputError):
            refused(path)
        assert path.exists() == made
        assert not made or not list(path.iterdir())
