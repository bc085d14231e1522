"""Which actors share a GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence


def laid_out(shares: Sequence[float]) -> list[list[int]]:
    """Who is put on which GPU, as Ray does it.

    Args:
        shares: GPUs that every actor asks for, in the order of their birth. A share of one goes to the GPU that has
            least room for it; 0 needs none.

    Returns:
        For every GPU in use the places of its actors in `shares`.
    """
    rooms: list[float] = []
    found: list[list[int]] = []
    for actor, share in enumerate(shares):
        fitting = [gpu for gpu, room in enumerate(rooms) if room >= share - 1e-9 and 0 < share < 1]
        if fitting:
            gpu = min(fitting, key=lambda gpu: rooms[gpu])
            rooms[gpu] -= share
            found[gpu].append(actor)
        else:
            rooms += [max(1 - share, 0.0)] * math.ceil(share)
            found += [[actor] for _ in range(math.ceil(share))]
    return found
