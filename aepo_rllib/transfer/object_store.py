"""Weights through Ray's object store: written once by a learner, read once on every node, never by the driver."""

from __future__ import annotations

from typing import Any

import numpy as np
import ray

from aepo_rllib.transfer.weights import BUCKET_BYTES, Named, StoredWeights, packed


def store(weights: Named, bucket_bytes: int = BUCKET_BYTES) -> StoredWeights:
    """Put weights into the object store; they stay there as long as somebody holds what is returned."""
    return StoredWeights([(entries, ray.put(data)) for entries, data in packed(weights, bucket_bytes)], fetch)


def fetch(place: Any) -> np.ndarray:
    """A bucket's bytes, in the memory of this node's object store."""
    return ray.get(place)
