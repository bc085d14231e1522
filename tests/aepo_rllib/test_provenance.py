"""What an exported model says of its making makes such a run again, and tells nothing of the machine."""

from __future__ import annotations

import json
from pathlib import Path

from aepo_rllib import AEPOConfig, GRPOConfig
from aepo_rllib.cli.settings import unchecked
from aepo_rllib.training.provenance import changed_settings, provenance


def test_the_settings_make_the_same_configuration_again() -> None:
    config = AEPOConfig().training(lr=1e-4, batch_size=8).debugging(seed=5).problems(problems="countdown3=2,sum3=1")
    config = config.entropy_control(target_entropy="0.6x").evaluation(evaluation_interval=None)
    told = json.loads(json.dumps(provenance(config)))
    _, again = unchecked(told["config"])
    assert type(again) is AEPOConfig
    assert changed_settings(again) == changed_settings(config)
    assert set(told["config"]) == {
        *("algo", "lr", "batch_size", "seed", "env_config", "target_entropy", "evaluation_interval"),
    }
    assert told["target_entropy"] == "0.6x"


def test_only_ids_of_the_hub_are_called_so(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("{}\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Mine\n")

    def told(model: str, problems: str) -> dict[str, object]:
        return provenance(GRPOConfig().language_model(model_path=model).problems(problems=problems))

    hub = told("org/base", "org/data:main")
    assert (hub["base_model"], hub["datasets"]) == ("org/base", ["org/data"])
    assert "license" not in hub
    here = told(str(tmp_path / "model"), str(tmp_path / "mine.jsonl"))
    assert here["license"] == "apache-2.0"
    assert not {"base_model", "datasets"} & set(here)
    assert (here["model"], here["problems"]) == ("model", "mine.jsonl")
    assert str(tmp_path) not in json.dumps(here)
    assert not {"base_model", "datasets"} & set(told("embedded", "arithmetic"))
