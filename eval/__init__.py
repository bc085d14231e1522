"""Evaluation: lm-eval tasks, models that sample n completions per problem, pass@k with intervals, reports."""
