"""Dials that turn the temperature of a stream, by the name that `controller` gives."""

from __future__ import annotations

from typing import Any

from aepo_rllib.control.dials import HeatingSwitch, ProportionalTemperature, TemperatureSwitch
from aepo_rllib.control.steady import SteadyDial

TEMPERATURE_DIALS: dict[str, type[Any]] = {
    "switch": TemperatureSwitch,
    "heating_switch": HeatingSwitch,
    "proportional": ProportionalTemperature,
    "steady": SteadyDial,
}
"""Each takes `temperature_low`, `temperature_high` and options of its own."""
