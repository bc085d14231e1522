"""`aepo pretrain`: bases that are made again bit by bit, from noisy traces, mixes and other models."""

from __future__ import annotations

import json
import math
import random
import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from aepo_rllib.cli.pretrain import pretrain_command
from aepo_rllib.envs.problems import Family, Problem
from aepo_rllib.envs.traces import draw_trace
from aepo_rllib.models.embedded.pretrain import IGNORE, PretrainRecipe, pretrain, token_batches
from aepo_rllib.models.embedded.tokenizer import build_tokenizer
from aepo_rllib.models.hf import load_model, load_tokenizer, resolve_model
from tests.support.documents import ROOT, blocks, commands


def run(output: Path, *options: object) -> Result:
    return CliRunner().invoke(pretrain_command, ["--output", str(output), *map(str, options)], catch_exceptions=False)


def weights(folder: Path | str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_same_seed_makes_the_same_base_and_the_recipe_stands_beside_it(tmp_path: Path) -> None:
    options = (
        "--steps",
        2,
        "--family",
        "countdown3=2,chain=4",
        "--noise",
        0.5,
        "--guesses",
        0.25,
        "--start",
        "embedded",
    )
    for name, seed in (("one", 3), ("same", 3), ("other", 4)):
        assert run(tmp_path / name, *options, "--seed", seed).exit_code == 0
    assert same(weights(tmp_path / "one"), weights(tmp_path / "same"))
    assert not same(weights(tmp_path / "one"), weights(tmp_path / "other"))
    recipe = json.loads((tmp_path / "one" / "pretraining.json").read_text())
    assert recipe["families"] == {"countdown3": 2, "chain1": 1, "chain2": 1, "chain3": 1, "chain4": 1}
    assert [recipe[name] for name in ("steps", "seed", "noise", "guesses", "start")] == [2, 3, 0.5, 0.25, "embedded"]


def test_the_base_for_chains_was_made_by_the_command_that_the_document_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = [words for block in blocks(ROOT / "docs/embedded-model.md") for words in commands(block.text)]
    [options] = [words[1:] for words in shown if words[0] == "pretrain" and "--noise" in words]
    monkeypatch.setattr(
        "aepo_rllib.models.embedded.pretrain.pretrain", lambda *_, **__: (load_model("embedded"), build_tokenizer())
    )
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(pretrain_command, options, catch_exceptions=False).exit_code == 0
    made, ships = tmp_path / "embedded-chain", Path(resolve_model("embedded-chain"))
    assert (made / "pretraining.json").read_text() == (ships / "pretraining.json").read_text()
    assert (made / "model.safetensors").stat().st_size == (ships / "model.safetensors").stat().st_size


def test_a_base_that_goes_on_begins_at_the_weights_of_the_other() -> None:
    """At learning rates of nothing, training changes nothing."""
    recipe = PretrainRecipe(steps=1, start="embedded", families={"chain2": 1}, muon_lr=0, adamw_lr=0)
    model, tokenizer = pretrain(recipe)
    assert same(dict(model.state_dict()), dict(load_model("embedded").state_dict()))
    assert tokenizer.get_vocab() == load_tokenizer("embedded").get_vocab()
    other, _ = pretrain(PretrainRecipe(steps=1, families={"chain2": 1}, muon_lr=0, adamw_lr=0))
    assert not same(dict(other.state_dict()), dict(model.state_dict()))


def test_a_base_can_be_stored_in_half_the_bytes_and_goes_on_from_there(tmp_path: Path) -> None:
    assert run(tmp_path / "half", "--steps", 1, "--start", "embedded", "--dtype", "bfloat16").exit_code == 0
    size = (tmp_path / "half" / "model.safetensors").stat().st_size
    assert size < 0.55 * (Path(resolve_model("embedded")) / "model.safetensors").stat().st_size
    assert {tensor.dtype for tensor in load_model(str(tmp_path / "half")).parameters()} == {torch.float32}
    assert run(tmp_path / "further", "--steps", 1, "--start", tmp_path / "half").exit_code == 0


def test_a_few_steps_on_chains_lower_the_loss_on_them() -> None:
    losses: list[float] = []
    recipe = PretrainRecipe(steps=24, start="embedded", families={"chain1": 1, "chain2": 1}, noise=0.0)
    pretrain(recipe, on_step=lambda step, loss: losses.append(loss))
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_families_come_in_proportion_and_only_completions_are_learnt() -> None:
    tokenizer = build_tokenizer()
    batches = token_batches(PretrainRecipe(families={"sum3": 3, "chain2": 1}, batch_size=1000), tokenizer)
    ids, labels = next(batches)
    made = (ids[:, 0] == tokenizer.get_vocab()["Make"]).float().mean().item()
    assert made == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 1000))
    prompts = tokenizer.batch_decode([row[mask] for row, mask in zip(ids, labels == IGNORE, strict=True)])
    assert all(prompt.replace(tokenizer.pad_token, "").endswith(".") for prompt in prompts)


@pytest.mark.parametrize("family", ["countdown3", "sum3"])
def test_of_a_single_problem_the_share_of_guesses_shows_no_steps(family: str) -> None:
    rng = random.Random(0)
    bare = sum("=" not in _signs(draw_trace(family, rng, 0.0, 0.4)[1]) for _ in range(1000))
    assert bare / 1000 == pytest.approx(0.4, abs=0.06)


def _signs(trace: str) -> str:
    verbs = (" gives", " makes", " is", " equals", " yields")
    return "".join("=" if word in verbs else word for word in (f" {part}" for part in trace.split()))


class Bare(Family[int]):
    def draw(self, rng: random.Random) -> int:
        return rng.randint(2, 99)

    def problem(self, drawn: int) -> Problem:
        return Problem(f"bare:{drawn}", f"Add {drawn} 1.", str(drawn + 1))

    def trace(self, drawn: int, rng: random.Random, noise: float) -> str:  # type: ignore[override]
        return f" \\boxed{{{drawn + 1}}}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--family", "chian"), "unknown problem family 'chian'.*did you mean chain"),
        (("--family", "chain=1", "--family", "sum3=2,chain=1"), "--family chain comes twice; add up its weights"),
        (("--family", "chain=0"), "the weight of chain must be a whole number from 1 to 1000, not 0"),
        (("--family", f"{__file__}:Bare", "--guesses", 0.5), "Bare: its traces know no guesses"),
        (("--noise", 1.5), "1.5 is not in the range"),
        (("--start", "./nowhere"), "nowhere"),
        (("--dtype", "int8"), "'int8' is not one of"),
    ],
)
def test_what_cannot_be_used_is_refused_before_a_step(
    options: tuple[object, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aepo_rllib.models.embedded.pretrain.pretrain", lambda *a, **k: pytest.fail("it was trained"))
    result = run(tmp_path / "none", *options)
    assert result.exit_code == 2
    assert re.search(message, " ".join(result.output.split())), result.output
