"""Hugging Face directories out of training: the format every other tool reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aepo_rllib.models.hf import as_tensors, load_model, load_tokenizer

HF_FOLDER = "huggingface"
INFO_FILE = "aepo.json"


def write_huggingface(
    model: str,
    state: Mapping[str, Any],
    folder: Path,
    *,
    dtype: str = "float32",
    info: Mapping[str, Any] | None = None,
) -> None:
    """Write weights as a model directory that `AutoModelForCausalLM.from_pretrained` loads.

    Args:
        model: The model training started from: its configuration, generation config and tokenizer are kept.
        state: Weights, named as in the Hugging Face model.
        folder: Where to.
        dtype: Of the stored weights.
        info: What else to keep, as `aepo.json`.
    """
    hf_model = load_model(model, dtype=dtype)
    hf_model.load_state_dict(as_tensors(state))
    hf_model.save_pretrained(folder)
    load_tokenizer(model).save_pretrained(folder)
    (folder / INFO_FILE).write_text(json.dumps(dict(info or {}), indent=2) + "\n", encoding="utf-8")
