"""Reading Hugging Face model directories, safely: safetensors only, remote code never runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

EMBEDDED = "embedded"
"""Name of the model that ships with the package."""

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


class ModelError(ValueError):
    """A model or tokenizer cannot be used; the message says why and what to do."""


def resolve_model(model: str) -> str:
    """The folder or hub id behind a model name; "embedded" is the shipped one."""
    if model == EMBEDDED:
        return str(Path(__file__).parent / "embedded" / "model")
    return model


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model.

    Raises:
        ModelError: it cannot be read, or has no EOS token and so could never end a completion.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(resolve_model(model), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read a tokenizer from model {model!r}: {reason_of(error)}") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer of model {model!r} has no EOS token; set eos_token in its tokenizer_config.json"
        )
    return tokenizer


def load_model(model: str, *, dtype: str = "float32", **kwargs: Any) -> PreTrainedModel:
    """The causal LM of a model folder or hub id, from safetensors alone.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return AutoModelForCausalLM.from_pretrained(
            resolve_model(model), dtype=DTYPES[dtype], trust_remote_code=False, use_safetensors=True, **kwargs
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read model {model!r}: {reason_of(error)}") from error


def check_model(model: str) -> int | None:
    """Read configuration and tokenizer, but no weights.

    Returns:
        The model's context length in tokens, None where its configuration does not say.

    Raises:
        ModelError: as `load_tokenizer` and `load_model`.
    """
    load_tokenizer(model)
    return context_length(model)


def context_length(model: str) -> int | None:
    """Most tokens that a model reads at a time, None where its configuration does not say.

    Raises:
        ModelError: the configuration cannot be read.
    """
    return getattr(_config(model), "max_position_embeddings", None)


def state_names(model: str) -> set[str]:
    """Names of all weights in a model's state dict, from its configuration alone.

    Raises:
        ModelError: the configuration cannot be read.
    """
    with torch.device("meta"):
        return set(AutoModelForCausalLM.from_config(_config(model), trust_remote_code=False).state_dict())


def as_tensors(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """A state dict of tensors, from tensors or arrays; read-only arrays (Ray's object store) are copied."""
    return {
        name: torch.tensor(value)
        if isinstance(value, np.ndarray) and not value.flags.writeable
        else torch.as_tensor(value)
        for name, value in state.items()
    }


def stop_ids(model: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """All token ids that end a completion: every EOS of the generation config, and the tokenizer's own."""
    try:
        configured = GenerationConfig.from_pretrained(resolve_model(model)).eos_token_id
    except OSError:  # a folder without generation_config.json
        configured = None
    ids = configured if isinstance(configured, list) else [configured]
    return sorted({int(token) for token in [*ids, tokenizer.eos_token_id] if token is not None})


def _config(model: str) -> Any:
    try:
        return AutoConfig.from_pretrained(resolve_model(model), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read model {model!r}: {reason_of(error)}") from error


def reason_of(error: Exception) -> str:
    """What went wrong, in a line; of pydantic's errors the first line says nothing."""
    problems = error.errors() if hasattr(error, "errors") else []
    return "; ".join(problem["msg"] for problem in problems) or str(error).strip().split("\n")[0]
