"""Env runners, and what is asked of them: text environment + rollout engine -> graded episodes."""
