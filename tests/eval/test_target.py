import json
import re

import pytest

from aepo_rllib.eval import target
from aepo_rllib.eval.target import find_target
from aepo_rllib.models import export


def make_export(folder, step=None):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    if step is not None:
        (folder / "aepo.json").write_text(json.dumps({"step": step}))


def test_names_are_those_of_the_plugin():
    assert (target.HF_FOLDER, target.INFO_FILE) == (export.HF_FOLDER, export.INFO_FILE)


def test_a_model_is_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_export(tmp_path / "tiny")
    assert find_target("embedded") == target.Target("embedded", target.Path("eval-embedded"))
    assert find_target(str(tmp_path / "tiny")).model == str(tmp_path / "tiny")
    assert find_target("Qwen/Qwen2.5-0.5B").output.name == "eval-Qwen2.5-0.5B"


def test_a_run_is_its_newest_export(tmp_path):
    make_export(tmp_path / "huggingface", step=30)
    make_export(tmp_path / "checkpoints" / "step_000030" / "huggingface", step=30)
    found = find_target(str(tmp_path))
    assert found.model == str(tmp_path / "huggingface")
    assert found.output == tmp_path / "eval"
    # Resumed for more steps and killed: the final export is the older one.
    make_export(tmp_path / "checkpoints" / "step_000050" / "huggingface", step=50)
    assert find_target(str(tmp_path)).model == str(tmp_path / "checkpoints" / "step_000050" / "huggingface")


def test_a_run_remembers_its_prompt_template(tmp_path):
    make_export(tmp_path / "huggingface", step=30)
    assert find_target(str(tmp_path)).template is None
    (tmp_path / "huggingface" / "aepo.json").write_text(json.dumps({"step": 30, "template": "boxed"}))
    assert find_target(str(tmp_path)).template == "boxed"
    assert find_target(str(tmp_path / "huggingface")).template == "boxed"


def test_an_unfinished_run_is_its_newest_whole_checkpoint(tmp_path):
    names = ("step_000009", "step_000100", "step_1000000", "step_000020")
    for name, step in zip(names, (9, 100, 50, 20), strict=True):
        make_export(tmp_path / "checkpoints" / name / "huggingface", step)
    for name in (".tmp_step_000200", "step_best", "step_", "step_٣", "step_000300_old", "best"):
        make_export(tmp_path / "checkpoints" / name / "huggingface", 1000)
    (tmp_path / "checkpoints" / "step_000400").mkdir()
    assert find_target(str(tmp_path)).model == str(tmp_path / "checkpoints" / "step_000100" / "huggingface")
    # Killed while it wrote its last export, whose aepo.json comes last.
    make_export(tmp_path / "huggingface")
    assert find_target(str(tmp_path)).model == str(tmp_path / "checkpoints" / "step_000100" / "huggingface")


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ('{"step": true}', "step: must be a whole number"),
        ('{"step": -1}', "step: must be a whole number"),
        ('{"step": 1e400}', "step: must be a whole number"),
        ('{"step": 1%s}' % ("0" * 30), "step: must be a whole number"),
        ('{"step": 1, "step": 2}', "'step' twice"),
        ('{"step": NaN}', "NaN is no number"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "expected an object"),
        ("", "broken JSON"),
        ('{"step": 3, "template": "boxd"}', "template: unknown prompt template 'boxd'"),
        ('{"step": 3, "template": ["boxed"]}', "template: must be a text"),
        (b'{"step": 3, "template": "\xff"}', "not UTF-8"),
        (" " * (1 << 24) + "{}", "larger than"),
    ],
)
def test_what_lies_beside_a_model_is_checked_and_named(tmp_path, info, message):
    make_export(tmp_path / "huggingface")
    file = tmp_path / "huggingface" / "aepo.json"
    file.write_bytes(info if isinstance(info, bytes) else info.encode())
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        find_target(str(tmp_path))
    assert str(refused.value).startswith(f"{file}: ")
    assert len(str(refused.value)) < 500


def test_a_template_that_was_asked_for_goes_before_the_models(tmp_path):
    make_export(tmp_path / "model")
    (tmp_path / "model" / "aepo.json").write_text('{"template": "from another version"}')
    assert find_target(str(tmp_path / "model"), "boxed").template == "boxed"


def test_folders_without_a_model_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(ValueError, match="neither a model"):
        find_target(str(tmp_path))
    for missing in ("./nothing", "/no/such/folder", "runs/nothing", "a/b/c"):
        with pytest.raises(ValueError, match="no folder"):
            find_target(missing)
