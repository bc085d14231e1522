"""A run folder never loses what it has: damage is refused by file and line, and nothing is taken for something else."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aepo_rllib.cli.records import append_record, cut_records, read_records
from aepo_rllib.cli.run_folder import CONFIG, METRICS, SAMPLES, RunFolder
from aepo_rllib.support.sealed_folder import appearing_folder

STEPS, EVERY = 6, 2
PAYLOADS = ["plain", "汉字 é", '\u2028 and "quotes"', "", "\x1b[31m"]


@pytest.fixture
def folder(tmp_path):
    """A finished run as it lies on the disk, with small files in place of weights."""
    with RunFolder.create(tmp_path / "run", {"steps": STEPS, "checkpoint_every": EVERY}) as run:
        for step in range(1, STEPS + 1):
            run.append(METRICS, {"step": step, "main/reward_mean": 0.5})
            run.append(SAMPLES, {"step": step, "prompt": PAYLOADS[step % len(PAYLOADS)]})
            if step % EVERY == 0:
                add_checkpoint(run, step)
        (run.path / "huggingface").mkdir()
    return run


def add_checkpoint(run, step, name=None, of_run=None):
    path = run.path / "checkpoints" / (name or f"step_{step:06d}")
    with appearing_folder(path) as temporary:
        info = {"step": step, "run": of_run or run.config_and_id()[1]}
        (temporary / "aepo.json").write_text(json.dumps(info))
    return path


class Writing:
    """An algorithm that has finished this step, and the checkpoint that it begins; it takes so many looks to appear."""

    def __init__(self, run, step, looks=1):
        self.run, self.train_steps, self.looks = run, step, looks
        self.path = None

    def begin_checkpoint(self, path):
        self.path = path
        return self

    def poll(self):
        self.looks -= 1
        if self.looks == 0:
            add_checkpoint(self.run, self.train_steps)
        return self.looks == 0

    def wait(self):
        while not self.poll():
            pass


def snapshot(run):
    """All files of a run, byte by byte."""
    return {path: path.read_bytes() for path in sorted(run.path.rglob("*")) if path.is_file()}


def chosen(run):
    told = []
    checkpoint = RunFolder(run.path).good_checkpoint(told.append)
    return checkpoint and checkpoint.name, " ".join(told)


def test_the_newest_checkpoint_is_taken(folder):
    assert chosen(folder) == ("step_000006", "")


def test_a_run_that_lost_its_checkpoints_is_refused_untouched(folder):
    shutil.rmtree(folder.path / "checkpoints")
    before = snapshot(folder)
    with pytest.raises(ValueError, match=r"6 steps on record and an exported model, but its checkpoints .* are gone"):
        chosen(folder)
    shutil.rmtree(folder.path / "huggingface")
    with pytest.raises(ValueError, match="6 steps on record, but its checkpoints"):
        chosen(folder)
    assert snapshot(folder) == before


@pytest.mark.parametrize("steps", [0, 1, EVERY])
def test_a_run_begins_again_only_where_no_checkpoint_was_due(tmp_path, steps):
    with RunFolder.create(tmp_path / "run", {"checkpoint_every": EVERY}) as run:
        for step in range(1, steps + 1):
            run.append(METRICS, {"step": step})
    assert chosen(run) == (None, "")
    for step in range(steps + 1, EVERY + 2):
        run.append(METRICS, {"step": step})
    with pytest.raises(ValueError, match="are gone"):
        chosen(run)


@pytest.mark.parametrize(
    "name",
    [
        "step_best",
        "step_old",
        "step_",
        "step_1e3",
        "step_000009.bak",
        "Step_000009",
        "step_2",
        "step_0000004",
        "step_٠٠٠٠٠٤",
        "notes",
    ],
)
def test_what_is_not_called_like_a_checkpoint_is_left_alone(folder, name):
    add_checkpoint(folder, 4, name)
    assert chosen(folder) == ("step_000006", "")
    shutil.rmtree(folder.path / "checkpoints" / "step_000006")
    assert chosen(folder)[0] == "step_000004"
    (folder.path / "checkpoints" / name / "manifest.json").unlink()
    assert chosen(folder)[0] == "step_000004"
    assert (folder.path / "checkpoints" / name).is_dir()

    folder.begin_checkpoint(Writing(folder, 5), keep=1)
    folder.settle()
    assert {path.name for path in (folder.path / "checkpoints").iterdir()} == {name, "step_000005"}


def test_steps_are_compared_as_numbers_and_never_pruned_ahead(folder):
    add_checkpoint(folder, 1000001, "step_1000001")
    assert chosen(folder)[0] == "step_000006"  # its metrics end with step 6

    folder.begin_checkpoint(Writing(folder, 8), keep=2)
    folder.settle()
    assert [path.name for path in folder.checkpoints()] == ["step_000006", "step_000008", "step_1000001"]


def test_training_goes_on_while_a_checkpoint_is_written_and_older_ones_stay_until_it_is_there(folder):
    writing = Writing(folder, 8, looks=3)
    folder.begin_checkpoint(writing, keep=1)
    for _ in range(2):
        folder.settle()
        assert [path.name for path in folder.checkpoints()] == ["step_000002", "step_000004", "step_000006"]
    folder.settle()
    assert [path.name for path in folder.checkpoints()] == ["step_000008"]
    folder.begin_checkpoint(Writing(folder, 8), keep=1)  # the one that is there
    folder.settle(wait=True)
    assert writing.looks == 0


def test_the_next_checkpoint_waits_for_the_one_before(folder):
    folder.begin_checkpoint(first := Writing(folder, 8, looks=5), keep=9)
    folder.begin_checkpoint(Writing(folder, 10, looks=2), keep=9)
    assert first.looks == 0
    folder.settle(wait=True)
    assert [path.name for path in folder.checkpoints()][-2:] == ["step_000008", "step_000010"]


def test_a_checkpoint_that_cannot_be_written_is_told_once_and_the_last_one_stands(folder):
    class Failing(Writing):
        def poll(self):
            raise OSError("disk full")

    folder.begin_checkpoint(Failing(folder, 8), keep=1)
    with pytest.raises(OSError, match="disk full"):
        folder.settle()
    folder.settle(wait=True)
    assert chosen(folder) == ("step_000006", "")


def test_a_checkpoint_of_another_step_than_its_name_is_not_trusted(folder):
    shutil.rmtree(folder.path / "checkpoints" / "step_000006")
    add_checkpoint(folder, 4, "step_000006")
    name, told = chosen(folder)
    assert name == "step_000004"
    assert "step_000006 cannot be used: it is a checkpoint of step 4" in told


def test_a_checkpoint_of_another_run_is_not_trusted(folder):
    shutil.rmtree(folder.path / "checkpoints" / "step_000006")
    add_checkpoint(folder, 6, of_run="0123456789abcdef")
    name, told = chosen(folder)
    assert name == "step_000004"
    assert "step_000006 cannot be used: it is a checkpoint of another run" in told


def test_to_choose_changes_nothing_and_to_go_on_sets_damage_aside(folder):
    (folder.path / "checkpoints" / "step_000006" / "manifest.json").unlink()
    before = snapshot(folder)
    again = RunFolder(folder.path)
    assert again.good_checkpoint(lambda text: None).name == "step_000004"
    assert snapshot(folder) == before
    again.set_damaged_aside()
    assert len(list((folder.path / "checkpoints").glob(".damaged_step_000006_*"))) == 1
    assert [path.name for path in again.checkpoints()] == ["step_000002", "step_000004"]


def test_samples_of_steps_that_are_not_on_record_are_not_dropped(folder):
    for name in (METRICS, "checkpoints", "huggingface"):
        path = folder.path / name
        path.unlink() if path.is_file() else shutil.rmtree(path)
    before = snapshot(folder)
    with pytest.raises(ValueError, match="0 steps on record, but its checkpoints"):
        chosen(folder)
    (folder.path / METRICS).mkdir()
    with pytest.raises(ValueError, match=r"metrics\.jsonl is no file"):
        chosen(folder)
    assert snapshot(folder) == before


def test_what_a_run_was_changed_to_stands_in_its_configuration(folder):
    _, name = folder.config_and_id()
    folder.write_config({"steps": 9, "checkpoint_every": 1}, name)
    assert RunFolder(folder.path).config_and_id() == ({"steps": 9, "checkpoint_every": 1}, name)
    assert chosen(folder)[0] == "step_000006"


def test_a_checkpoint_that_is_a_link_is_not_ours(folder, tmp_path):
    (folder.path / "checkpoints" / "step_000006").rename(tmp_path / "elsewhere")
    (folder.path / "checkpoints" / "step_000006").symlink_to(tmp_path / "elsewhere")
    assert chosen(folder)[0] == "step_000004"
    assert (tmp_path / "elsewhere").is_dir()


def test_a_foreign_file_in_a_checkpoint_is_refused_by_name(folder):
    (folder.path / "checkpoints" / "step_000006" / "class_and_ctor_args.pkl").write_bytes(b"payload")
    name, told = chosen(folder)
    assert name == "step_000004"
    assert "class_and_ctor_args.pkl is no part of it" in told


def test_only_unfinished_checkpoints_are_removed(folder):
    checkpoints = folder.path / "checkpoints"
    for name in (".tmp_step_000008", ".tmp_mine", ".damaged_step_000002_1"):
        (checkpoints / name).mkdir()
    folder.remove_unfinished()
    assert not (checkpoints / ".tmp_step_000008").exists()
    assert (checkpoints / ".tmp_mine").is_dir()
    assert (checkpoints / ".damaged_step_000002_1").is_dir()


def test_records_that_end_before_a_checkpoint_are_made_again_from_an_older_one(folder):
    """Else the steps between would be missing for good."""
    file = folder.path / METRICS
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:5]))
    name, told = chosen(folder)
    assert name == "step_000004"
    assert "step_000006 is not used: metrics.jsonl ends with step 5" in told
    assert (folder.path / "checkpoints" / "step_000006").is_dir()
    file.unlink()
    with pytest.raises(ValueError, match="0 steps on record and an exported model, but none of its checkpoints"):
        chosen(folder)


# --- Records ---


def lines_of(run, name=METRICS):
    return (run.path / name).read_bytes().splitlines(keepends=True)


DAMAGES = {
    "a bad byte": lambda line: b"\0" + line[1:],
    "no UTF-8": lambda line: line[:-3] + b"\xc3" + line[-2:],
    "half a line": lambda line: line[: len(line) // 2] + b"\n",
    "no record": lambda line: b"[]\n",
    "no step": lambda line: b'{"loss": 1}\n',
    "a step in words": lambda line: b'{"step": "2"}\n',
    "step true": lambda line: b'{"step": true}\n',
    "step zero": lambda line: b'{"step": 0}\n',
    "nested": lambda line: b'{"step": ' + b"[" * 100_000 + b"\n",
    "nothing": lambda line: b"\n",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [METRICS, SAMPLES])
def test_a_bad_line_that_is_not_the_last_stops_with_file_and_line(folder, name, damage):
    lines = lines_of(folder, name)
    lines[1] = DAMAGES[damage](lines[1])
    (folder.path / name).write_bytes(b"".join(lines))
    before = snapshot(folder)
    for read in (lambda: folder.read(name), lambda: folder.cut(name, 6)):
        with pytest.raises(ValueError, match=rf"{name}:2: no record of a training step"):
            read()
    assert snapshot(folder) == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_last_line_is_cut_and_said(folder, damage):
    lines = lines_of(folder)
    (folder.path / METRICS).write_bytes(b"".join([*lines[:-1], DAMAGES[damage](lines[-1])]))
    assert folder.recorded_steps() == 5
    assert folder.cut(METRICS, 5)
    assert lines_of(folder) == lines[:-1]
    assert not folder.cut(METRICS, 5)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [(b'{"step": 4}\n', "the record of step 3 is missing"), (b'{"step": 3, "loss": "x"}\n', "loss is no number")],
)
def test_metrics_have_every_step_and_numbers(folder, line, complaint):
    lines = lines_of(folder)
    (folder.path / METRICS).write_bytes(b"".join([*lines[:2], line, *(lines[3:] if b"loss" in line else [])]))
    with pytest.raises(ValueError, match=rf"metrics\.jsonl:3: {complaint}"):
        folder.recorded_steps()


def test_steps_that_go_back_are_refused(folder):
    folder.append(SAMPLES, {"step": 2})
    folder.append(SAMPLES, {"step": 7})
    with pytest.raises(ValueError, match=r"samples\.jsonl:7: step 2 after step 6"):
        folder.read(SAMPLES)


@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=1, max_size=5),
    place=st.floats(0, 1),
    last_step=st.integers(0, 6),
)
def test_cut_anywhere_a_file_keeps_its_whole_records(tmp_path_factory, texts, place, last_step):
    file = tmp_path_factory.mktemp("records") / "x.jsonl"
    for step, text in enumerate(texts, start=1):
        append_record(file, {"step": step, "text": text})
    whole = file.read_bytes()
    file.write_bytes(whole[: round(place * len(whole))])
    kept = [{"step": step, "text": text} for step, text in enumerate(texts, start=1)][: file.read_bytes().count(b"\n")]
    assert read_records(file) == kept
    torn = not file.read_bytes().endswith(b"\n") and bool(file.read_bytes())
    assert cut_records(file, last_step) == torn
    assert read_records(file) == kept[:last_step]
    assert whole.startswith(file.read_bytes())


# --- Configuration ---


def test_the_configuration_comes_back(folder):
    assert folder.config() == {"steps": STEPS, "checkpoint_every": EVERY}
    assert yaml.safe_load((folder.path / CONFIG).read_text()) == folder.config()


@pytest.mark.parametrize(
    "text",
    ["", "# only a comment\n", "[]", "a: !!python/name:os.system", "a: [", "\0", "steps: 6\nsteps: 7"],
)
def test_a_damaged_configuration_is_one_line(folder, text):
    (folder.path / CONFIG).write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml"):
        folder.config()


def test_a_changed_configuration_is_refused(folder):
    file = folder.path / CONFIG
    file.write_text(file.read_text().replace("steps: 6", "steps: 60"))
    with pytest.raises(ValueError, match="was changed since the run was started"):
        folder.config()


def test_a_configuration_that_is_no_text_is_refused(folder):
    (folder.path / CONFIG).write_bytes(b"\xff\xfe\0")
    with pytest.raises(ValueError, match="not UTF-8"):
        folder.config()


def test_the_loser_of_two_starts_writes_nothing(tmp_path):
    path = tmp_path / "run"
    with RunFolder.create(path, {"seed": 11}) as winner:
        for _ in range(2):
            with pytest.raises(ValueError, match=r"not empty|in use"), RunFolder.create(path, {"seed": 22}):
                pass
        assert winner.config() == {"seed": 11}
        (path / CONFIG).unlink()  # the moment before it is written: the folder is held already
        with pytest.raises(ValueError, match="in use by process"), RunFolder.create(path, {"seed": 22}):
            pass
        assert not (path / CONFIG).exists()
