"""Pre-training on generated traces, in minutes on one core: the embedded model from nothing, and others like it.

The embedded model's recipe: a 3-layer Llama of 0.34 M parameters reads freshly generated traces
(`aepo_rllib.envs.traces`), never of validation or test problems, 32 at a time, with Muon on the matrices and AdamW on
the rest, and a constant learning rate that falls linearly to zero over the second half. The loss counts completion
tokens alone.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from aepo_rllib.envs.traces import NOISE, draw_trace
from aepo_rllib.models.embedded.tokenizer import build_tokenizer
from aepo_rllib.models.hf import DTYPES, load_model, load_tokenizer

IGNORE = -100
RECIPE = "pretraining.json"
"""What a model directory says about how it was made."""


@dataclass(frozen=True)
class PretrainRecipe:
    """Everything that decides the weights.

    Attributes:
        steps, batch_size: Optimizer steps, and traces in each.
        muon_lr, adamw_lr: Learning rates of the matrices inside the layers, and of the rest.
        noise: Probability that a trace goes wrong; of a chain, that a link does.
        guesses: Probability that it is a guess, without steps; likewise.
        seed: Of weights and traces.
        families: Weights of the problem families in a batch.
        start: Model to go on with, a folder or a name; None starts from random weights.
        lr_scale: Factor of both learning rates; below 1 a model that goes on keeps more of what it can do.
        dtype: What weights are stored in; they are trained in float32.
    """

    steps: int = 3600
    batch_size: int = 32
    muon_lr: float = 0.02
    adamw_lr: float = 3e-3
    noise: float = NOISE
    guesses: float = 0.0
    seed: int = 0
    families: Mapping[str, float] = field(
        default_factory=lambda: {"countdown3": 6, "countdown4": 1, "sum3": 1, "sum4": 1}
    )
    start: str | None = None
    lr_scale: float = 1.0
    dtype: str = "float32"


def model_config(tokenizer: PreTrainedTokenizerBase) -> LlamaConfig:
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
    recipe: PretrainRecipe, tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (input ids, labels), both (batch, time), right-padded; prompts and padding carry no label."""
    rng = random.Random(recipe.seed)
    families = list(recipe.families)
    weights = list(recipe.families.values())
    while True:
        rows = []
        for family in rng.choices(families, weights, k=recipe.batch_size):
            prompt, completion = draw_trace(family, rng, recipe.noise, recipe.guesses)
            prompt_ids = tokenizer(prompt)["input_ids"]
            completion_ids = [*tokenizer(completion)["input_ids"], tokenizer.eos_token_id]
            rows.append((prompt_ids + completion_ids, [IGNORE] * len(prompt_ids) + completion_ids))
        width = max(len(ids) for ids, _ in rows)
        yield (
            torch.tensor([ids + [tokenizer.pad_token_id] * (width - len(ids)) for ids, _ in rows]),
            torch.tensor([labels + [IGNORE] * (width - len(labels)) for _, labels in rows]),
        )


def optimizers(model: PreTrainedModel, recipe: PretrainRecipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    embeddings = {id(p) for end in ends if end is not None for p in end.parameters()}
    matrices = [p for p in model.parameters() if p.ndim == 2 and id(p) not in embeddings]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=recipe.muon_lr, weight_decay=0.0, momentum=0.95),
        torch.optim.AdamW(others, lr=recipe.adamw_lr, weight_decay=0.0, betas=(0.9, 0.95)),
    ]


def _begin(start: str | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if start is not None:
        return load_model(start).train(), load_tokenizer(start)
    tokenizer = build_tokenizer()
    return LlamaForCausalLM(model_config(tokenizer)).train(), tokenizer


def pretrain(
    recipe: PretrainRecipe, *, on_step: Callable[[int, float], None] | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Train a model on traces.

    Args:
        recipe: What to do.
        on_step: Called after every step with (steps done, loss in nats per token).
    """
    torch.manual_seed(recipe.seed)
    model, tokenizer = _begin(recipe.start)
    optims = optimizers(model, recipe)
    base_lrs = [[group["lr"] for group in optim.param_groups] for optim in optims]
    for step, (ids, labels) in zip(range(recipe.steps), token_batches(recipe, tokenizer), strict=False):
        scale = recipe.lr_scale * min(1.0, (step + 1) / 20, 2 * (1 - step / recipe.steps))
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


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, recipe: PretrainRecipe) -> None:
    """Write a Hugging Face model directory (safetensors, tokenizer, generation config), and the recipe beside it."""
    model.generation_config.update(
        do_sample=True, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id
    )
    model.to(DTYPES[recipe.dtype]).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / RECIPE).write_text(json.dumps(asdict(recipe), indent=1) + "\n")
