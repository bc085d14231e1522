"""Pre-training of the embedded model from nothing, in minutes on one core.

The recipe: a 3-layer Llama of 0.34 M parameters reads freshly generated traces (`aepo_rllib.envs.traces`) of
*training* problems only, 32 at a time, with Muon on the matrices and AdamW on the rest, and a constant learning
rate that falls linearly to zero over the second half. The loss counts completion tokens alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from aepo_rllib.envs.traces import NOISE, draw_trace
from aepo_rllib.models.embedded.tokenizer import build_tokenizer

IGNORE = -100


@dataclass(frozen=True)
class PretrainRecipe:
    """Everything that decides the weights.

    `families` weighs the problem families of a pre-training batch; `max_new_tokens` bounds a completion.
    """

    steps: int = 3600
    batch_size: int = 32
    muon_lr: float = 0.02
    adamw_lr: float = 3e-3
    noise: float = NOISE
    seed: int = 0
    families: dict[str, int] = field(default_factory=lambda: {"countdown3": 6, "countdown4": 1, "sum3": 1, "sum4": 1})


def model_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """The architecture: 3 layers of width 96 with 3 heads of 32, tied embeddings."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=3,
        num_key_value_heads=3,
        head_dim=32,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        dtype="float32",
    )


def token_batches(
    recipe: PretrainRecipe, tokenizer: PreTrainedTokenizerFast
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (input ids, labels), both (batch, time), right-padded; prompts and padding carry no label."""
    rng = random.Random(recipe.seed)
    families = list(recipe.families)
    weights = list(recipe.families.values())
    while True:
        rows = []
        for family in rng.choices(families, weights, k=recipe.batch_size):
            prompt, completion = draw_trace(family, "train", rng, recipe.noise)
            prompt_ids = tokenizer(prompt)["input_ids"]
            completion_ids = [*tokenizer(completion)["input_ids"], tokenizer.eos_token_id]
            rows.append((prompt_ids + completion_ids, [IGNORE] * len(prompt_ids) + completion_ids))
        width = max(len(ids) for ids, _ in rows)
        yield (
            torch.tensor([ids + [tokenizer.pad_token_id] * (width - len(ids)) for ids, _ in rows]),
            torch.tensor([labels + [IGNORE] * (width - len(labels)) for _, labels in rows]),
        )


def optimizers(model: LlamaForCausalLM, recipe: PretrainRecipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=recipe.muon_lr, weight_decay=0.0, momentum=0.95),
        torch.optim.AdamW(others, lr=recipe.adamw_lr, weight_decay=0.0, betas=(0.9, 0.95)),
    ]


def pretrain(
    recipe: PretrainRecipe, *, on_step: Callable[[int, float], None] | None = None
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Train the embedded model from random weights.

    Args:
        recipe: What to do.
        on_step: Called after every step with (steps done, loss in nats per token).
    """
    torch.manual_seed(recipe.seed)
    tokenizer = build_tokenizer()
    model = LlamaForCausalLM(model_config(tokenizer)).train()
    optims = optimizers(model, recipe)
    base_lrs = [[group["lr"] for group in optim.param_groups] for optim in optims]
    for step, (ids, labels) in zip(range(recipe.steps), token_batches(recipe, tokenizer), strict=False):
        scale = min(1.0, (step + 1) / 20, 2 * (1 - step / recipe.steps))
        for optim, lrs in zip(optims, base_lrs, strict=True):
            for group, lr in zip(optim.param_groups, lrs, strict=True):
                group["lr"] = lr * scale
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORE)
        loss.backward()
        for optim in optims:
            optim.step()
            optim.zero_grad()
        if on_step is not None:
            on_step(step + 1, loss.item())
    return model.eval(), tokenizer


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a Hugging Face model directory (safetensors, tokenizer, generation config)."""
    model.generation_config.update(
        do_sample=True, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
