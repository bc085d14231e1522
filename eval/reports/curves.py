"""Curves and numbers for JSON, which has no nan."""

from __future__ import annotations

import math
from typing import Any

from aepo_rllib.eval.passk import PassAtKCurve


def curve_json(curve: PassAtKCurve) -> dict[str, Any]:
    """A curve for JSON, by k: undefined numbers are None."""
    rows = zip(curve.ks, curve.mean, curve.se, curve.low, curve.high, strict=True)
    return {
        str(k): {
            "mean": number_json(mean),
            "se": number_json(se),
            "ci95": None if math.isnan(low) else [float(low), float(high)],
        }
        for k, mean, se, low, high in rows
    }


def number_json(value: float) -> float | None:
    """The number, or None where it is undefined."""
    return None if math.isnan(value) else float(value)
