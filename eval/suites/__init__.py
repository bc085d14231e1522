"""Suites: those of this package, those of the user's own, and both as lm-eval tasks."""
