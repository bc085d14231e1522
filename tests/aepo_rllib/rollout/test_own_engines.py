"""What a user reads whose own engine, or its options, are wrong; before anything is loaded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from aepo_rllib import GRPOConfig
from aepo_rllib.rollout import check_engine_options, engine_class, engine_identity
from aepo_rllib.rollout.engine import NO_FILTERS
from aepo_rllib.rollout.transformers import TransformersEngine

ENGINES = """
from aepo_rllib.rollout import RolloutEngine
from own_engine import PlainEngine

class Short(PlainEngine):
    def __init__(self, model, *, window=None, max_rows=256):
        super().__init__(model, max_rows=max_rows)

    @classmethod
    def context_limit(cls, options):
        return options.get("window", 50)

class Unfinished(RolloutEngine):
    def generate(self, prompts, *, max_new_tokens, stop_ids, filters=None):
        return []

class Other:
    pass
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    shutil.copy(Path(__file__).parents[3] / "examples" / "own_engine.py", tmp_path)
    (tmp_path / "engines.py").write_text(ENGINES)
    return tmp_path / "engines.py"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Shorter", {}, r"rollout engine '.*engines.py:Shorter': .* has no class Shorter; did you mean Short\?"),
        ("Other", {}, r"is no subclass of RolloutEngine"),
        ("Unfinished", {}, r"does not define from_pretrained, log_probs, update_weights; see docs/extending/engine.md"),
        ("Short", {"max_row": 3}, r"unknown engine_options key 'max_row'; did you mean max_rows\?"),
        ("Short", {"max_rows": 0}, r"engine_options key max_rows=0 must be a whole number of at least 1"),
        ("Short", {}, r"max_new_tokens=64 leaves no room for a prompt in engine '.*engines.py:Short', 50 tokens"),
        (
            "Short",
            {"window": 40},
            r"max_new_tokens=64 leaves no room for a prompt in engine_options.window, 40 tokens",
        ),
        (
            "Short",
            {"window": 70},
            r"problems leave no room for max_new_tokens=64 in engine_options.window, 70 tokens",
        ),
    ],
)
def test_a_config_refuses_it_with_the_cure(file: Path, name: str, options: dict[str, Any], message: str) -> None:
    config = GRPOConfig().sampling(engine=f"{file}:{name}", engine_options=options)
    with pytest.raises(ValueError, match=message):
        config.validate()


def test_a_limit_that_is_wide_enough_is_no_reason_to_refuse(file: Path) -> None:
    GRPOConfig().sampling(engine=f"{file}:Short", engine_options={"window": 200}).validate()


def test_samples_of_an_own_engine_are_told_by_its_source_wherever_it_lies(file: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for source in (file, file.with_name("own_engine.py")):
        shutil.copy(source, elsewhere)
    identity = engine_identity(f"{file}:Short")
    assert identity.startswith("Short-")
    assert engine_identity(f"{elsewhere}/engines.py:Short") == identity
    changed = elsewhere / "changed.py"
    changed.write_text(ENGINES + "# another one\n")
    assert engine_identity(f"{changed}:Short") != identity
    assert engine_identity("transformers") == "transformers"


def test_a_relative_file_is_the_same_engine(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert engine_class("engines.py:Short") is engine_class(f"{file}:Short")
    check_engine_options("option", "engines.py:Short", {"window": 3, "max_rows": 2})


def test_a_derived_engine_that_samples_by_itself_tells_of_ends_where_it_can():
    class Plain(TransformersEngine):
        def generate(self, prompts, *, max_new_tokens, stop_ids, filters=NO_FILTERS):
            return []

    class Passing(TransformersEngine):
        def generate(self, prompts, **kwargs):
            return super().generate(prompts, **kwargs)

    class Other(TransformersEngine):
        def close(self):
            pass

    assert [each.tells_ends for each in (TransformersEngine, Plain, Passing, Other)] == [True, False, True, True]
