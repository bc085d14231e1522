"""What the files of a model folder say of each other, from their headers alone: no tensor is read.

transformers repairs in silence what does not fit: it takes random numbers for missing tensors, and rounds any dtype
into the one it was asked for. And it builds what a configuration says, however large.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

INDEX = "model.safetensors.index.json"
MAX_JSON_BYTES = 10_000_000
MOST_LAYERS, MOST = 10_000, 2**31
"""Bounds where the files are not here to be counted: so many layers take seconds to build."""
TOKENIZER_BYTES, BYTES_PER_TOKEN = 10_000_000, 1_000
"""A tokenizer.json may be as large as the first and so much more for every token; the largest known has 130."""
FLOATS = ("F64", "F32", "F16", "BF16")
SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_experts", "num_local_experts")
"""Names that transformers gives to sizes of every model (`attribute_map` translates); each costs a number or more."""


class Header(NamedTuple):
    """What a safetensors file says of one tensor."""

    dtype: str
    shape: tuple[int, ...]


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than a whole model in safetensors.

    Raises:
        ValueError: names the file and what is wrong with it.
        OSError: a file cannot be read.
    """
    if (folder / "adapter_config.json").exists():
        raise ValueError("it holds an adapter (adapter_config.json), not a whole model; merge it into its base first")
    for name in ("config.json", "generation_config.json", INDEX):
        if (folder / name).is_file() and (folder / name).stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"{name} is larger than {MAX_JSON_BYTES} bytes")


def check_tokenizer_size(folder: Path, vocabulary: int) -> None:
    """Refuse a tokenizer.json that cannot be this model's; reading one of millions of tokens takes half a minute.

    Args:
        folder: Of the model.
        vocabulary: How many tokens the model knows.

    Raises:
        ValueError: it is too large.
    """
    file = folder / "tokenizer.json"
    size = file.stat().st_size if file.is_file() else 0
    if size > TOKENIZER_BYTES + BYTES_PER_TOKEN * vocabulary:
        raise ValueError(f"tokenizer.json has {size} bytes, too many for a model of {vocabulary} tokens")


def read_headers(folder: Path) -> dict[str, Header]:
    """The tensors of a folder by name, whichever files they lie in.

    Raises:
        ValueError: a file is missing, cut or no safetensors, or the index names one outside of the folder.
        OSError: a file cannot be read.
    """
    headers = {}
    for file in _weight_files(folder):
        if not file.is_file():
            raise ValueError(f"{file.name} is missing")
        try:
            with safe_open(file, framework="numpy") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - no mapping
                    if name in headers:
                        raise ValueError(f"tensor {name} stands in two files, {file.name} is the second")
                    tensor = tensors.get_slice(name)
                    headers[name] = Header(tensor.get_dtype(), tuple(tensor.get_shape()))
        except SafetensorError as error:
            raise ValueError(f"{file.name} is cut or damaged ({error})") from error
    return headers


def check_sizes(config: Any, headers: dict[str, Header] | None) -> None:
    """Refuse a configuration that its files cannot have come from, before anything is built by it.

    Args:
        config: Of transformers.
        headers: Of the model's files; None where they are not here yet.

    Raises:
        ValueError: names the setting, its value and what the files hold.
    """
    if method := getattr(config, "quantization_config", None):
        method = method.get("quant_method", "") if isinstance(method, dict) else getattr(method, "quant_method", "")
        raise ValueError(f"its weights are quantised ({method or 'quantization_config'}); take the original ones")
    text = config.get_text_config()
    numbers = sum(math.prod(header.shape) for header in headers.values()) if headers is not None else MOST
    tensors = len(headers) if headers is not None else MOST_LAYERS
    bounds = dict.fromkeys(SIZES, (numbers, f"its files hold {numbers} numbers"))
    bounds["num_hidden_layers"] = (min(tensors, MOST_LAYERS), f"its files hold {tensors} tensors")
    bounds["max_position_embeddings"] = (MOST, "no model reads so many tokens")
    for name, (most, reason) in bounds.items():
        value = getattr(text, name, None)
        least = 0 if "experts" in name else 1
        if isinstance(value, int) and not least <= value <= most:
            raise ValueError(f"config.json says {name}={value}, but {reason if value > most else 'that is no size'}")


def check_dtypes(headers: dict[str, Header], weights: Collection[str], prefix: str) -> None:
    """Refuse weights that are stored as anything but floating-point numbers of 16 bits or more.

    Args:
        headers: Of the model's files.
        weights: Names of the model's floating-point tensors.
        prefix: Of the base model, which a file's names may have or lack.

    Raises:
        ValueError: names the tensor and its dtype.
    """
    for name, header in headers.items():
        # Experts of a mixture lie in the file one by one, under other names than in the model.
        spellings = (name, f"{prefix}.{name}", name.removeprefix(f"{prefix}."))
        known = name.endswith(".weight") or any(spelling in weights for spelling in spellings)
        if known and header.dtype not in FLOATS:
            raise ValueError(f"tensor {name} is stored as {header.dtype}, not as one of {', '.join(FLOATS)}")


def _weight_files(folder: Path) -> Iterator[Path]:
    """The one file, or those that the index names."""
    if not (folder / INDEX).is_file():
        yield folder / "model.safetensors"
        return
    if (folder / "model.safetensors").is_file():
        raise ValueError(f"it holds both model.safetensors and {INDEX}: remove what is not its own")
    try:
        places = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        names = sorted({str(place) for place in places})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{INDEX} is damaged ({type(error).__name__})") from error
    for name in names:
        if name != Path(name).name or not name.endswith(".safetensors"):
            raise ValueError(f"{INDEX} names {name!r}, which is no safetensors file of this folder")
        yield folder / name
