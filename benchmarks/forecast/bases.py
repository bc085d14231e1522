"""Base models of unlike pre-training: the embedded one, and what a minute or less makes of it or from nothing.

They differ in how much of their entropy is style, in noise, in what they have read, in how long they have learned, and
in temperature. Each is a Hugging Face folder, made once.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import PreTrainedModel

from aepo_rllib import GRPOConfig
from aepo_rllib.envs.problems.families import style
from aepo_rllib.envs.traces import draw_trace
from aepo_rllib.models.embedded import pretrain
from aepo_rllib.models.hf import load_model, load_tokenizer

FINE_TUNE_LR, FINE_TUNE_STEPS = 1e-3, 250
LISTS = (style.OPENERS, style.CONNECTIVES, style.VERBS, style.FILLERS_BEFORE, style.FILLERS_AFTER, style.CLOSINGS)
USUAL = {word: next((other for other in words if other), "") for words in LISTS for word in words if word}
"""Every style word's usual one: the first of its list."""


@dataclass(frozen=True)
class Base:
    """How a base model is made.

    Attributes:
        name: In tables and of its folder.
        plain: Probability that a style word is replaced by its usual one; 1 leaves no choice of words.
        noise: Share of the traces that go wrong.
        families: What it reads; none: the recipe's.
        scratch: Steps of pre-training from nothing; None: the embedded model reads on, `FINE_TUNE_STEPS` of them.
        temperature: Logits are divided by it at the end.
        reads: Whether it reads at all, or is the embedded model at another temperature.
        grpo: Steps of GRPO in the end.
    """

    name: str
    plain: float = 0.0
    noise: float = 0.3
    families: Mapping[str, int] = field(default_factory=dict)
    scratch: int | None = None
    temperature: float = 1.0
    reads: bool = True
    grpo: int = 0


BASES = (
    Base("embedded", reads=False),
    Base("half the words usual", plain=0.5),
    Base("three in four usual", plain=0.75),
    Base("nine in ten usual", plain=0.9),
    Base("no choice of words", plain=1.0),
    Base("noisy", noise=0.8),
    Base("clean", noise=0.0),
    Base("no choice of words, noisy", plain=1.0, noise=0.8),
    Base("sums", families={"sum3": 1, "sum4": 1}),
    Base("countdown", families={"countdown3": 1}),
    Base("at T = 0.6", temperature=0.6, reads=False),
    Base("at T = 0.8", temperature=0.8, reads=False),
    Base("at T = 1.2", temperature=1.2, reads=False),
    Base("after GRPO", grpo=150, reads=False),
    Base("700 steps", scratch=700),
    Base("1,400 steps, half usual", scratch=1400, plain=0.5),
)


def folder_of(base: Base, root: Path) -> Path:
    """Where it lies."""
    return root / "-".join(re.findall(r"[a-z0-9]+", base.name.lower()))


def make(base: Base, root: Path) -> Path:
    """Its folder, made where it is not there yet."""
    folder = folder_of(base, root)
    if (folder / "config.json").is_file():
        return folder
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model, tokenizer = load_model("embedded"), load_tokenizer("embedded")
    if base.scratch is not None:
        recipe = pretrain.PretrainRecipe(steps=base.scratch, noise=base.noise, seed=1)
        with _reading(base):
            model, tokenizer = pretrain.pretrain(recipe)
    elif base.reads:
        with _reading(base):
            _read_on(model, base)
    if base.grpo:
        model = _after_grpo(base.grpo)
    with torch.no_grad():  # the head is tied to the embeddings, what it reads is not
        model.model.norm.weight /= base.temperature
    pretrain.save(model, tokenizer, folder)
    return folder


def usual_words(text: str, plain: float, rng: random.Random) -> str:
    """A trace whose style words have become the usual ones, each with probability `plain`."""

    def chosen(match: re.Match[str]) -> str:
        return USUAL.get(match[0], match[0]) if rng.random() < plain else match[0]

    return re.sub(r" [A-Za-z]+| =", chosen, text)


class _reading:
    """Traces as a base reads them, for as long as it lasts."""

    def __init__(self, base: Base) -> None:
        self.base = base

    def __enter__(self) -> None:
        pretrain.draw_trace = partial(_trace, plain=self.base.plain)

    def __exit__(self, *_: object) -> None:
        pretrain.draw_trace = draw_trace


def _trace(family: str, rng: random.Random, noise: float, guesses: float, *, plain: float) -> tuple[str, str]:
    problem, trace = draw_trace(family, rng, noise, guesses)
    return problem, usual_words(trace, plain, rng)


def _read_on(model: PreTrainedModel, base: Base) -> None:
    recipe = pretrain.PretrainRecipe(noise=base.noise, seed=1)
    if base.families:
        recipe = replace(recipe, families=dict(base.families))
    optimizer = torch.optim.AdamW(model.parameters(), lr=FINE_TUNE_LR, weight_decay=0.0, betas=(0.9, 0.95))
    falling: Callable[[int], float] = lambda step: 1 - step / FINE_TUNE_STEPS  # noqa: E731
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, falling)
    batches = pretrain.token_batches(recipe, load_tokenizer("embedded"))
    model.train()
    for _ in range(FINE_TUNE_STEPS):
        ids, labels = next(batches)
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=pretrain.IGNORE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()


def _after_grpo(steps: int) -> PreTrainedModel:
    algo = GRPOConfig().evaluation(evaluation_interval=None).debugging(seed=7, log_level="ERROR").build_algo()
    for _ in range(steps):
        algo.train()
    module = algo.get_module()
    assert module is not None
    algo.stop()
    return module.scorer.model
