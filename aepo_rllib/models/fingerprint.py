"""Which model is it? A digest that changes with the weights, the tokenizer or the configuration, not with the path."""

from __future__ import annotations

import hashlib
from pathlib import Path

from aepo_rllib.support.sealed_folder import sha256

PATTERNS = (
    "*.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "vocab.*",
    "merges.txt",
    "*.jinja",
)
"""The files that decide what a model says."""


def model_fingerprint(model: str) -> str:
    """Digest of a model that can be read from this machine, or "" where it cannot.

    A folder is read as a whole, about a second per gigabyte. A hub id is known by the commit that was downloaded.

    Args:
        model: Hugging Face folder or id, or "embedded".
    """
    from aepo_rllib.models.hf import resolve_model  # loads torch, which a folder needs not

    folder = Path(resolve_model(model))
    return folder_fingerprint(folder) if folder.is_dir() else _commit(model)


def folder_fingerprint(folder: Path) -> str:
    """Likewise of a model's folder."""
    files = sorted({file for pattern in PATTERNS for file in folder.glob(pattern) if file.is_file()})
    if not any(file.suffix == ".safetensors" for file in files):
        return ""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\n{sha256(file)}\n".encode())
    return digest.hexdigest()


def _commit(model: str) -> str:
    """The commit of a hub model in the local cache."""
    from aepo_rllib.models.hf import local_folder

    folder = local_folder(model)
    return f"{model}@{folder.name}" if folder else ""
