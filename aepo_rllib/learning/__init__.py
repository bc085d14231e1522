"""Learners, and what is asked of them: rows -> gradient."""
