"""Dials: how a measured entropy becomes a temperature or a coefficient. Neither torch nor Ray."""
