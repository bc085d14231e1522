"""How weights go from learners to engines."""
