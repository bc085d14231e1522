"""`aepo export --push` brings the folder to a hub, and says before any work why it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aepo_rllib.cli.export import export_command
from tests.support.model_hub import Hub, model_hub

FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 40, "templates/a.jinja": b"{{ messages }}"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        file = tmp_path / "run" / "huggingface" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return tmp_path / "run"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with model_hub() as hub:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", "hf_mine")
        yield hub


def export(run: Path, *options: str) -> Result:
    return CliRunner().invoke(export_command, [str(run), "--output", str(run.parent / "model"), *options])


def test_every_file_arrives_with_the_card_in_a_repository_as_private_as_was_asked(run: Path, hub: Hub) -> None:
    result = export(run, "--push", "me/my-model", "--private")
    assert result.exit_code == 0, result.output
    assert f"{hub.address}/me/my-model" in result.output
    card = (run.parent / "model" / "README.md").read_bytes()
    assert hub.files == {"me/my-model": FILES | {"README.md": card}}
    assert card.startswith(b"---\n")
    assert hub.repositories["me/my-model"]["visibility"] == "private"
    assert hub.tokens == {"Bearer hf_mine"}


def test_a_hub_that_refuses_ends_in_one_line_and_the_copy_stays(run: Path, hub: Hub) -> None:
    hub.refusal = (403, "this token may only read")
    result = export(run, "--push", "me/my-model")
    assert result.exit_code == 1
    assert f"hf upload me/my-model {run.parent / 'model'}" in result.output.splitlines()[-1]
    assert (run.parent / "model" / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_what_cannot_be_pushed_is_refused_before_anything_is_copied(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(*options: str) -> str:
        result = export(run, *options)
        assert result.exit_code == 2, result.output
        assert not (run.parent / "model").exists()
        return result.output

    assert "--private is about the repository" in refused("--private")
    assert "'a/b/c' is no repository of the hub" in refused("--push", "a/b/c")
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        assert "HF_HUB_OFFLINE switches it off" in refused("--push", "me/my-model")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    assert "set HF_TOKEN" in refused("--push", "me/my-model")
    assert not hub.repositories
