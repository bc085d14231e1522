import json

import pytest

from aepo_rllib import export, hf
from aepo_rllib.eval import target
from aepo_rllib.eval.target import find_target


def make_export(folder, step=None):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    if step is not None:
        (folder / "aepo.json").write_text(json.dumps({"step": step}))


def test_names_are_those_of_the_plugin():
    assert (target.EMBEDDED, target.HF_FOLDER, target.INFO_FILE) == (hf.EMBEDDED, export.HF_FOLDER, export.INFO_FILE)


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
    for name, step in (("a", 9), ("b", 100), ("c", 20), (".tmp_d", 200)):
        make_export(tmp_path / "checkpoints" / name / "huggingface", step)
    (tmp_path / "checkpoints" / "e").mkdir()
    assert find_target(str(tmp_path)).model == str(tmp_path / "checkpoints" / "b" / "huggingface")


def test_folders_without_a_model_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(ValueError, match="neither a model"):
        find_target(str(tmp_path))
    for missing in ("./nothing", "/no/such/folder", "runs/nothing", "a/b/c"):
        with pytest.raises(ValueError, match="no folder"):
            find_target(missing)
