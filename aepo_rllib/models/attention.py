"""Which of torch's attention kernels are safe for padded rows."""

from __future__ import annotations

import torch


def avoid_cudnn_attention() -> None:
    """Take cuDNN's kernel out of torch's choice, in this whole process; the flash and memory-efficient ones stay.

    Where a row is padded on the left, its first queries may attend to nothing. cuDNN's kernel, torch's first choice in
    16 bits on Hopper GPUs, gives NaN for them, which reaches every weight through the backward pass (seen with torch
    2.11 on an H200: all gradients NaN, log-probs fine).
    """
    torch.backends.cuda.enable_cudnn_sdp(False)
