"""A user's way, on the command line: their own problems, model and reward; five steps; evaluation; a comparison."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config

from tests.support.command import here

pytestmark = pytest.mark.process

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant{{ '\n' }}"
)
REWARD = '''
from aepo_rllib.envs.grading import Score

def shortness(completion, problem):
    """What a random model can learn: to stop. Half a point for the family that its row names."""
    assert problem.turns == (("system", "Be brief."),), problem.turns
    bonus = 0.5 if problem.extra["level"] == 1 else 0.0
    return Score(bonus - (completion.tokens or 0) / 16, correct=not completion.truncated, answer=str(completion.tokens))
'''
PROBLEMS = 8


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the user brings."""
    home = tmp_path_factory.mktemp("home")
    rows = [
        {
            "data_source": "mine",
            "prompt": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": f"What is {i} + {i}? Let's think step by step."},
            ],
            "reward_model": {"style": "rule", "ground_truth": f"{2 * i:,}.0"},
            "extra_info": {"level": i % 2},
        }
        for i in range(PROBLEMS)
    ]
    datasets.Dataset.from_list(rows).to_parquet(home / "mine.parquet")
    (home / "my_rewards.py").write_text(REWARD)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = ["<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=marks, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["What is 1 + 1? Let's think step by step."] * 9, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=marks[1], pad_token=marks[1])
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(home / "model")
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(fast) + 8,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
        bos_token_id=None,
        tie_word_embeddings=True,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(home / "model")
    return home


def aepo(home: Path, *arguments: Any) -> str:
    """A command in a process of its own."""
    command = [sys.executable, "-m", "aepo_rllib.cli.main", *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=home, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_own_problems_model_and_reward(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    verifier = "my_rewards.py:shortness"
    looked = here("problems", "mine.parquet", "--template", "chat", "--examples", 1)
    assert f"{PROBLEMS} problems" in looked
    assert f"{PROBLEMS} of {PROBLEMS} known answers pass their own verifier" in looked
    assert "[system]\nBe brief.\n[user]\nWhat is" in looked

    asked = ["--model", "model", "--problems", "mine.parquet", "--set", f"env_config.verifier={verifier}"]
    small = ["--steps", 5, "--batch-size", 4, "--group-size", 4, "--set", "max_new_tokens=12", "--output", "run"]
    settings = [*asked, *small, "--set", "evaluation_interval=null"]
    refused = here("train", *settings, code=2)  # the default template has no chat to put a system turn into
    assert "plain" in refused
    assert "system" in refused or "turn" in refused
    aepo(home, "train", *settings, "--set", "env_config.template=chat")
    steps = [json.loads(line) for line in (home / "run/metrics.jsonl").read_text().splitlines()]
    samples = [json.loads(line) for line in (home / "run/samples.jsonl").read_text().splitlines()]
    assert len(steps) == 5
    assert all(step["main/verdict_grader_crashed"] == 0 for step in steps)
    assert any(-1 < step["main/reward_mean"] < 0 for step in steps)
    assert {sample["reward"] for sample in samples} - {0.0, 1.0}

    evaluated = ["--problems", "mine.parquet", "--split", "train", "--n", 8, "--template", "chat", "--k", 1, "--k", 8]
    judged = [*evaluated, "--verifier", verifier, "--max-new-tokens", 12]
    here("eval", "model", *judged, "--output", "base")
    here("eval", "run", *judged, "--output", "trained")
    for folder in ("base", "trained"):
        scores = json.loads((home / folder / "passk.json").read_text())
        assert scores["suites"]["mine"]["problems"] == PROBLEMS
        assert scores["grading_rules"] >= 2
    compared = here("compare", "base", "trained")
    assert "mine" in compared
    assert f"{PROBLEMS} problems" in compared
    (home / "my_rewards.py").write_text(REWARD.replace("0.5", "0.25"))
    refused = here("train", "--resume", "run", "--steps", 6, code=2)
    assert "problems_sha256" in refused
    refused = here("regrade", "base", code=2)
    assert "--grader" in refused
