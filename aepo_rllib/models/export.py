"""Hugging Face directories out of training: the format every other tool reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from aepo_rllib.models.hf import empty_model, load_tokenizer, no_progress_bar
from aepo_rllib.models.named_weights import with_second_names

HF_FOLDER = "huggingface"
INFO_FILE = "aepo.json"


def write_huggingface(
    model: str, weights: Mapping[str, torch.Tensor], folder: Path, *, info: Mapping[str, Any] | None = None
) -> None:
    """Write weights as a model directory that `AutoModelForCausalLM.from_pretrained` loads.

    Args:
        model: The model training started from: its configuration, generation config and tokenizer are kept.
        weights: As they are to be stored, on the CPU, named as in the Hugging Face model; tied ones once.
        folder: Where to.
        info: What else to keep, as `aepo.json`.
    """
    dtypes = {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()}
    shape = empty_model(model, dtype=str(max(dtypes, key=str)).removeprefix("torch."))
    with no_progress_bar():
        shape.save_pretrained(folder, state_dict=dict(with_second_names(weights, shape)))
    load_tokenizer(model).save_pretrained(folder)
    (folder / INFO_FILE).write_text(json.dumps(dict(info or {}), indent=2) + "\n", encoding="utf-8")
