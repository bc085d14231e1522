"""Hugging Face directories out of training: the format every other tool reads."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from aepo_rllib.models.hf import empty_model, load_tokenizer, no_progress_bar, resolve_model
from aepo_rllib.models.lora import ADAPTER
from aepo_rllib.models.model_card import CARD_FILE, model_card
from aepo_rllib.models.named_weights import with_second_names

HF_FOLDER, ADAPTER_FOLDER = "huggingface", "adapter"
INFO_FILE = "aepo.json"


def write_huggingface(
    model: str, weights: Mapping[str, torch.Tensor], folder: Path, *, info: Mapping[str, Any] | None = None
) -> None:
    """Write weights as a model directory that `AutoModelForCausalLM.from_pretrained` loads.

    Args:
        model: The model training started from: its configuration, generation config and tokenizer are kept.
        weights: As they are to be stored, on the CPU, named as in the Hugging Face model; tied ones once.
        folder: Where to.
        info: What else to keep, as `aepo.json`, and to tell in the model card.
    """
    dtypes = {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()}
    shape = empty_model(model, dtype=str(max(dtypes, key=str)).removeprefix("torch."))
    with no_progress_bar():
        shape.save_pretrained(folder, state_dict=dict(with_second_names(weights, shape)))
    load_tokenizer(model).save_pretrained(folder)
    (folder / CARD_FILE).write_text(model_card(info or {}), encoding="utf-8")
    (folder / INFO_FILE).write_text(json.dumps(dict(info or {}), indent=2) + "\n", encoding="utf-8")


def write_adapter(model: str, adapted: PreTrainedModel, adapters: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write adapters as a folder that `peft.PeftModel.from_pretrained(base, folder)` loads.

    Args:
        model: The model they stand beside.
        adapted: It, with adapters.
        adapters: Named as peft does in a file.
        folder: Where to.
    """
    config = copy.copy(adapted.peft_config[ADAPTER])
    config.base_model_name_or_path, config.inference_mode = resolve_model(model), True
    config.target_modules = sorted(config.target_modules)  # a set, whose order is another in every process
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(folder))
    stored = {name: tensor.cpu().contiguous() for name, tensor in adapters.items()}
    save_file(stored, folder / "adapter_model.safetensors", metadata={"format": "pt"})
