"""Samples: models that draw n of them per prompt, and the store that keeps them."""
