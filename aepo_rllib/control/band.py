"""`Band`: Entrocraft's law, nothing within a band and everything outside of it."""

from __future__ import annotations

from dataclasses import dataclass

from aepo_rllib.control.dials import Stateless


@dataclass
class Band(Stateless):
    """1 below the band, -1 above it, 0 within (arXiv 2604.26326).

    Attributes:
        width: Of the band around the target, in nats per token.
    """

    width: float

    @property
    def bounds(self) -> tuple[float, float]:
        """Cooling and heating with all there is."""
        return -1.0, 1.0

    def turn(self, entropy: float, target: float) -> float:
        """On which side of the band the entropy is; its edges belong to it."""
        return float(entropy < target - self.width / 2) - float(entropy > target + self.width / 2)
