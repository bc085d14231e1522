"""Reading Hugging Face model directories, safely: safetensors only, remote code never runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from aepo_rllib.models.model_cache import cache_argument
from aepo_rllib.models.model_files import check_dtypes, check_folder, check_sizes, check_tokenizer_size, read_headers
from aepo_rllib.models.named_folder import EMBEDDED_MODELS, check_named_folder, is_here

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


class ModelError(ValueError):
    """A model or tokenizer cannot be used; the message says why and what to do."""


def resolve_model(model: str) -> str:
    """The folder or hub id behind a model name; "embedded" and "embedded-chain" are shipped ones."""
    if folder := EMBEDDED_MODELS.get(model):
        return str(Path(__file__).parent / "embedded" / folder)
    return model


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model.

    Raises:
        ModelError: it cannot be read, has no EOS token and so could never end a completion, or has more tokens than
            the model.
    """
    vocabulary = vocabulary_size(model)
    with _reading("a tokenizer from model", model):
        if folder := local_folder(model):
            check_tokenizer_size(folder, vocabulary)
        tokenizer = AutoTokenizer.from_pretrained(resolve_model(model), trust_remote_code=False)
        tokens = max(tokenizer.get_vocab().values(), default=-1) + 1
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer of model {model!r} has no EOS token; set eos_token in its tokenizer_config.json"
        )
    if tokens > vocabulary:
        raise ModelError(
            f"the tokenizer of model {model!r} has tokens up to id {tokens - 1}, but the model knows only "
            f"{vocabulary}; take the tokenizer it was trained with"
        )
    return tokenizer


def load_model(model: str, *, dtype: str = "float32", device: str = "cpu", **kwargs: Any) -> PreTrainedModel:
    """The causal LM of a model folder or hub id, from safetensors alone, every tensor from its files.

    Args:
        model: Hugging Face folder or id, or "embedded".
        dtype: Of the loaded weights; "auto" is that of the files.
        device: Where they go, tensor by tensor: no copy of the model passes through the host's memory on its way to a
            GPU. "meta" does everything but read them.
        kwargs: transformers' own.

    Raises:
        ModelError: it cannot be read, or its files and its configuration do not belong together.
    """
    _config(model)
    with _reading("model", model), no_progress_bar():
        loaded, info = AutoModelForCausalLM.from_pretrained(
            resolve_model(model),
            dtype=DTYPES.get(dtype, dtype),
            device_map=None if device == "cpu" else device,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused here, by name
            **kwargs,
        )
        _check_loaded(info)
        _check_tied(loaded)
        if folder := local_folder(model):
            floats = [name for name, tensor in loaded.state_dict().items() if tensor.is_floating_point()]
            check_dtypes(read_headers(folder), set(floats), loaded.base_model_prefix)
    return loaded


def empty_model(model: str, *, dtype: str = "float32", attention: str | None = None) -> PreTrainedModel:
    """The causal LM of a model folder or hub id with weights on the meta device, and what is computed from the
    configuration alone (tables of positions) in place.

    Raises:
        ModelError: its configuration cannot be read.
    """
    config = _config(model)
    with _reading("model", model):
        with init_empty_weights(include_buffers=False):
            empty = AutoModelForCausalLM.from_config(
                config, dtype=DTYPES[dtype], attn_implementation=attention, trust_remote_code=False
            )
        empty.tie_weights()  # accelerate has made every weight anew
    return empty


def check_model(model: str) -> int | None:
    """Read configuration and tokenizer, and the headers of the weights where these are on this machine.

    Returns:
        The model's context length in tokens, None where its configuration does not say.

    Raises:
        ModelError: as `load_tokenizer` and `load_model`, or of a type that cannot be sampled token by token.
    """
    stop_ids(model, load_tokenizer(model))
    if is_here(model):
        loaded = load_model(model, device="meta")
        try:
            cache_argument(loaded)
        except ValueError as error:
            raise ModelError(f"cannot use model {model!r}: {error}") from error
    return context_length(model)


def context_length(model: str) -> int | None:
    """Most tokens that a model reads at a time, None where its configuration does not say.

    Raises:
        ModelError: the configuration cannot be read.
    """
    return getattr(_config(model), "max_position_embeddings", None)


def vocabulary_size(model: str) -> int:
    """How many token ids a model knows.

    Raises:
        ModelError: the configuration cannot be read.
    """
    with _reading("model", model):
        return int(_config(model).get_text_config().vocab_size)


def local_folder(model: str) -> Path | None:
    """Where a model's files lie on this machine; None for a hub model that has not been downloaded."""
    folder = Path(resolve_model(model))
    if folder.is_dir():
        return folder
    try:
        file = cached_file(model, "config.json", local_files_only=True)
    except (OSError, ValueError):
        return None
    return Path(file).parent if file else None


def stop_ids(model: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """All token ids that end a completion: those of generation_config.json, of config.json, and the tokenizer's own.

    Raises:
        ModelError: one of them is no token of the model.
    """
    config, generation = _config(model), _generation_config(model)
    vocabulary = vocabulary_size(model)
    found = {"config.json": config.get_text_config().eos_token_id, "generation_config.json": generation}
    ids = {int(tokenizer.eos_token_id)}
    for place, named in found.items():
        for token in named if isinstance(named, list) else [named]:
            if token is not None and not (type(token) is int and 0 <= token < vocabulary):
                raise ModelError(
                    f"{place} of model {model!r} says eos_token_id={token!r}, which is no token of the model"
                )
            ids |= set() if token is None else {token}
    return sorted(ids)


def reason_of(error: Exception) -> str:
    """What went wrong, in a line; of some libraries' errors the first line says nothing."""
    problems = error.errors() if hasattr(error, "errors") else []
    if problems:
        return "; ".join(problem["msg"] for problem in problems)
    first, *others = str(error).strip().splitlines() or [type(error).__name__]
    return f"{first} {others[0].strip()}" if first.endswith(":") and others else first


def _config(model: str) -> Any:
    """The configuration, once it and the files beside it are plausible."""
    with _reading("model", model):
        check_named_folder(resolve_model(model))
        if folder := local_folder(model):
            check_folder(folder)
        config = AutoConfig.from_pretrained(resolve_model(model), trust_remote_code=False)
        check_sizes(config, read_headers(folder) if folder and is_here(model) else None)
    return config


def _generation_config(model: str) -> Any:
    """End ids of generation_config.json, None where there is no such file or it names none."""
    try:
        return GenerationConfig.from_pretrained(resolve_model(model)).eos_token_id
    except Exception as error:
        folder = local_folder(model)
        if isinstance(error, OSError) and not (folder and (folder / "generation_config.json").exists()):
            return None
        raise ModelError(f"cannot read generation_config.json of model {model!r}: {reason_of(error)}") from error


def _check_loaded(info: dict[str, Any]) -> None:
    """Refuse what transformers would repair: tensors that are missing, left over or of another shape.

    Tied weights, and what a model class is known to leave out, it has taken off these lists itself.

    Raises:
        ValueError: names them.
    """
    for words, key in (("missing in", "missing_keys"), ("of no use in", "unexpected_keys")):
        # Constants that older transformers stored with a GPT-2 or GPT-Neo.
        if names := sorted(name for name in map(str, info[key]) if not name.endswith(".attn.masked_bias")):
            raise ValueError(f"tensors {words} its weights: {_first(names)}")
    if mismatched := sorted(info["mismatched_keys"]):
        shapes = [f"{name} {list(there)} instead of {list(here)}" for name, there, here in mismatched]
        raise ValueError(f"tensors of another shape than config.json says: {_first(shapes)}")
    if info.get("error_msgs"):
        raise ValueError("; ".join(map(str, info["error_msgs"])))


def _check_tied(model: PreTrainedModel) -> None:
    """Refuse a head of its own that the configuration denies: transformers would use it, and vLLM would not."""
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    own_head = head is not None and not head.weight.is_meta and head.weight is not embeddings.weight
    if own_head and model.config.get_text_config().tie_word_embeddings:
        raise ValueError("config.json ties the head to the embeddings (tie_word_embeddings), but the weights have one")


def _first(names: list[str], shown: int = 3) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Small models load at once, and the bars of large ones would meet those of training."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


@contextmanager
def _reading(what: str, model: str) -> Iterator[None]:
    """Whatever transformers, safetensors and their validators raise on foreign files is one kind of error here."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"cannot read {what} {model!r}: {reason_of(error)}") from error
