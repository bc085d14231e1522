"""Configurations of known models, as numbers."""

from __future__ import annotations

from typing import Any

from transformers import Qwen2Config

QWEN = {
    "0.5b": (896, 4864, 24, 14, 2, True, 151_936),
    "1.5b": (1536, 8960, 28, 12, 2, True, 151_936),
    "3b": (2048, 11008, 36, 16, 2, True, 151_936),
    "7b": (3584, 18944, 28, 28, 4, False, 152_064),
    "32b": (5120, 27648, 64, 40, 8, False, 152_064),
}
"""Qwen2.5: hidden and intermediate size, layers, heads, key-value heads, whether the head is tied, vocabulary."""


def qwen(name: str, **changed: Any) -> Qwen2Config:
    """The configuration of a Qwen2.5 by its size."""
    hidden, intermediate, layers, heads, narrow, tied, vocabulary = QWEN[name]
    numbers: dict[str, Any] = {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": narrow,
        "tie_word_embeddings": tied,
        "vocab_size": vocabulary,
        "max_position_embeddings": 32768,
        "use_sliding_window": False,
    }
    return Qwen2Config(**{**numbers, **changed})
