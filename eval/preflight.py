"""Whether a model has room for an evaluation's prompts and completions: told by its tokenizer, without its weights."""

from __future__ import annotations

from itertools import islice
from typing import Any

from aepo_rllib.envs.prompts import get_template
from aepo_rllib.eval.data import turns_of
from aepo_rllib.eval.plan import EvaluationPlan
from aepo_rllib.eval.sampling.decoding import Decoding
from aepo_rllib.eval.sampling.requests import Asked
from aepo_rllib.eval.spec import EvaluationSpec
from aepo_rllib.eval.suites.loading import load_tasks
from aepo_rllib.eval.suites.own import find_sources
from aepo_rllib.models.hf import context_length, load_tokenizer
from aepo_rllib.models.prompting import PromptEncoder
from aepo_rllib.rollout.engine import Prompt, check_prompt


def questions_of(tasks: dict[str, Any], plan: EvaluationPlan) -> list[Asked]:
    """One sample of every problem, for a look at their lengths."""
    asked = []
    for name, task in tasks["tasks"].items():
        decoding = Decoding.from_kwargs(task.config.generation_kwargs)
        docs = islice(task.test_docs(), plan.limit)
        asked += [Asked(name, task.doc_to_text(doc), decoding, (), turns_of(doc)) for doc in docs]
    return asked


def check_prompts(plan: EvaluationPlan) -> None:
    """Refuse an evaluation whose problems the model could not read and answer.

    Raises:
        ValueError: an unknown suite, problems that cannot be read, a template that is not the model's, or a prompt that
            leaves no room; names suite and prompt.
    """
    suites, own = find_sources(plan)
    tasks = load_tasks(EvaluationSpec.of(plan, suites, tuple(own.problems), tuple(own.tasks)), own)
    encoder = PromptEncoder(load_tokenizer(plan.model), get_template(plan.template or "plain"))
    context, questions = context_length(plan.model), questions_of(tasks, plan)
    encoder.check_turns(*(question.turns for question in questions))
    for question in questions:
        prompt = Prompt(encoder.encode(question.text, question.turns), (), question.decoding.temperature)
        try:
            check_prompt(prompt, question.decoding.max_new_tokens, context)
        except ValueError as error:
            raise ValueError(f"{question.task}: {error} (it begins {question.text[:60]!r})") from None
