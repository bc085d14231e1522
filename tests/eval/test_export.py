"""`aepo export` copies a model out of a run that anybody may have made, and nothing from outside of it."""

import json
import os
import socket

import pytest
from click.testing import CliRunner

from aepo_rllib.cli.export import export_command
from aepo_rllib.models.fingerprint import folder_fingerprint
from tests.eval.test_compare import write as write_evaluation

FILES = {
    "config.json": b"{}",
    "model.safetensors": bytes(range(256)) * 9000,
    "tokenizer.json": "ünïcödé".encode(),
    "additional_chat_templates/a.jinja": b"{{ messages }}",
    "aepo.json": b'{"step": 3}',
}


def make_model(folder):
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def run(tmp_path):
    make_model(tmp_path / "run" / "huggingface")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("do not copy")
    return tmp_path / "run"


def export(run, target):
    return CliRunner().invoke(export_command, [str(run), str(target)])


def contents(folder, without="README.md"):
    """All files but the card, which is written anew."""
    files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert files.pop(without).startswith(b"---\n")
    return files


def test_every_file_arrives_as_it_was(run, tmp_path):
    for target in (tmp_path / "new" / "model", tmp_path / "empty", tmp_path / "hidden"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        (tmp_path / "hidden" / ".export.tmp").mkdir(parents=True, exist_ok=True)  # as a kill leaves it
        (tmp_path / "hidden" / ".export.tmp" / "old").write_text("")
        result = export(run, target)
        assert result.exit_code == 0, result.output
        assert contents(target) == FILES
        names = {name.partition("/")[0] for name in FILES} | {"README.md"}
        assert sorted(entry.name for entry in target.iterdir()) == sorted(names)
    assert "is not empty" in export(run, tmp_path / "new" / "model").output


def test_links_that_stay_in_the_run_are_followed_and_what_the_user_names_may_be_one(run, tmp_path):
    """The model hub's own caches are made of such links."""
    model, blobs = run / "huggingface", run / "blobs"
    blobs.mkdir()
    (model / "model.safetensors").rename(blobs / "5f0c")
    (model / "model.safetensors").symlink_to("../blobs/5f0c")
    (tmp_path / "my-link").symlink_to(run)
    assert export(tmp_path / "my-link", tmp_path / "one").exit_code == 0
    assert contents(tmp_path / "one") == FILES
    assert not any(file.is_symlink() for file in (tmp_path / "one").rglob("*"))
    (run / "checkpoints").mkdir()
    model.rename(run / "moved")
    (run / "checkpoints" / "step_000003").symlink_to(run)
    model.symlink_to("moved")
    assert export(run, tmp_path / "two").exit_code == 0
    assert contents(tmp_path / "two") == FILES


def a_device(model, secret):
    (model / "extra").symlink_to("/dev/zero")


def a_socket(model, secret):
    socket.socket(socket.AF_UNIX).bind(os.path.relpath(model / "extra"))


def the_models_folder(model, secret):
    make_model(secret / "model")
    for file in sorted(model.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    model.rmdir()
    model.symlink_to(secret / "model")


def a_checkpoint(model, secret):
    make_model(secret / "huggingface")
    (secret / "huggingface" / "aepo.json").write_text('{"step": 9}')
    (model.parent / "checkpoints").mkdir()
    (model.parent / "checkpoints" / "step_000009").symlink_to(secret)


def all_checkpoints(model, secret):
    make_model(secret / "step_000009" / "huggingface")
    (secret / "step_000009" / "huggingface" / "aepo.json").write_text('{"step": 9}')
    (model.parent / "checkpoints").symlink_to(secret)


TRAPS = {
    "a link to a file": lambda model, secret: (model / "extra").symlink_to(secret / "key"),
    "a relative link": lambda model, secret: (model / "extra").symlink_to("../../secret/key"),
    "a link in the place of a file": lambda model, secret: [
        (model / "tokenizer.json").unlink(),
        (model / "tokenizer.json").symlink_to(secret / "key"),
    ],
    "a link in a subfolder": lambda model, secret: (model / "additional_chat_templates/b").symlink_to(secret / "key"),
    "a link to a link": lambda model, secret: [
        (model.parent / "inner").symlink_to(secret / "key"),
        (model / "extra").symlink_to("../inner"),
    ],
    "a link to a folder": lambda model, secret: (model / "extra").symlink_to(secret),
    "a link to a folder above": lambda model, secret: (model / "extra").symlink_to(".."),
    "a link to a folder beside": lambda model, secret: [
        (model.parent / "logs").mkdir(),
        (model / "extra").symlink_to("../logs"),
    ],
    "a link to itself": lambda model, secret: (model / "extra").symlink_to("extra"),
    "a link to nothing": lambda model, secret: (model / "extra").symlink_to("nothing"),
    "a pipe": lambda model, secret: os.mkfifo(model / "extra"),
    "a pipe behind a link": lambda model, secret: [
        os.mkfifo(model.parent / "pipe"),
        (model / "extra").symlink_to("../pipe"),
    ],
    "a socket": a_socket,
    "a device": a_device,
    "the model's folder": the_models_folder,
    "a checkpoint": a_checkpoint,
    "all checkpoints": all_checkpoints,
}


@pytest.mark.parametrize("trap", TRAPS)
def test_what_leads_out_of_the_run_or_is_no_file_is_refused_by_name_and_nothing_is_left(
    trap, run, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # the path of a socket has to be short
    TRAPS[trap](run / "huggingface", tmp_path / "secret")
    result = export(run, tmp_path / "out")
    assert result.exit_code == 2, result.output
    (line,) = result.output.strip().splitlines()
    assert str(run) in line
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    assert export(run, tmp_path / "out").exit_code == 2
    assert not any((tmp_path / "out").iterdir())


def test_a_copy_that_fails_half_way_leaves_nothing(run, tmp_path, monkeypatch):
    def full(source, target, *_):
        target.write(source.read(1000))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    result = export(run, tmp_path / "out")
    assert result.exit_code == 2
    assert "No space left" in result.output
    assert not (tmp_path / "out").exists()


def test_folders_that_only_look_like_checkpoints_are_not_taken(run, tmp_path):
    for name in ("step_best", "step_000009_old", "best", ".tmp_step_000009"):
        other = make_model(run / "checkpoints" / name / "huggingface")
        (other / "aepo.json").write_text('{"step": 9}')
    assert export(run, tmp_path / "out").exit_code == 0
    assert contents(tmp_path / "out") == FILES


def train(run, entropies, target=0.5):
    """Leave records of steps with these entropies."""
    records = [
        {"step": step, "main/exact_entropy": entropy, "control/target_entropy": target, "main/reward_mean": 0.25}
        for step, entropy in enumerate(entropies, start=1)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def evaluate(run, *, model):
    """Leave an evaluation of a model with this fingerprint: half of 64 samples of two problems are right."""
    folder = write_evaluation(run / "eval", [16, 48], suite="aepo_x", identity={"model": model}, seed=7)
    summary = json.loads((folder / "passk.json").read_text())
    summary["suites"]["aepo_x"]["k"] = {"1": {"mean": 0.5, "se": 0.1, "ci95": [0.25, 0.75]}, "64": {"mean": None}}
    (folder / "passk.json").write_text(json.dumps(summary))


def test_the_card_tells_how_far_the_entropy_was_from_its_target_and_what_was_scored(run, tmp_path):
    train(run, [0.9, 0.8, 0.6, 0.9])  # the model is of step 3, so the last one has no part in it
    evaluate(run, model=folder_fingerprint(run / "huggingface"))
    result = export(run, tmp_path / "out")
    assert result.exit_code == 0, result.output
    card = (tmp_path / "out" / "README.md").read_text()
    assert "the entropy was 20% above its target" in card  # of its last step: 0.6 / 0.5
    assert "| `aepo_x` | 2 | 64 | 50.0 [25.0, 75.0] |" in card
    assert "seed `7`" in card


def test_scores_of_other_weights_and_damaged_records_do_not_get_into_the_card(run, tmp_path):
    train(run, [0.9, 0.8, 0.6])
    evaluate(run, model=folder_fingerprint(run / "huggingface"))
    (run / "huggingface" / "model.safetensors").write_bytes(b"other")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7}\n')
    result = export(run, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "are of other weights; evaluate" in result.output
    assert "the record of step 4 is missing" in result.output
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Scores" not in card
    assert "above its target" not in card


def test_a_folder_is_named_once(run, tmp_path):
    assert "name the folder to export to" in CliRunner().invoke(export_command, [str(run)]).output
    both = CliRunner().invoke(export_command, [str(run), str(tmp_path / "a"), "--output", str(tmp_path / "b")])
    assert both.exit_code == 2
    assert "name one" in both.output
