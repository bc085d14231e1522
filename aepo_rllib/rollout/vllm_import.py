"""How vLLM is imported: with its environment set."""

from __future__ import annotations

import os
from typing import Any

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process: weights reach it without being copied around
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # threads are Ray's to give, see OMP_NUM_THREADS
}
"""Set before vLLM is imported, unless the user has set them."""


def import_vllm() -> Any:
    """vLLM with its environment set, and its platform chosen."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import vllm
        import vllm.platforms
    except ImportError as error:
        raise ImportError(
            f"engine 'vllm' needs vLLM, which cannot be imported ({error}); pip install 'aepo-rllib[vllm]', or see "
            "docs/vllm.md for the CPU"
        ) from error
    return vllm
