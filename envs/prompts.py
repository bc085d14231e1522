"""Prompt templates, each under the name of the protocol it belongs to.

A template has two parts. Its *text* wraps the problem and is what the environment shows. Its *frame* (ChatML, or the
model's own chat template) holds special tokens and is put around the text where it is tokenized
(`aepo_rllib.models.prompting`), so that a problem text can never smuggle one in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
THINK = (
    "You FIRST think about the reasoning process as an internal monologue and then provide the final answer.\n"
    " The reasoning process MUST BE enclosed within <think> </think> tags. "
    "The final answer MUST BE put in \\boxed{}."
)
DAPO_HEAD = (
    "Solve the following math problem step by step. The last line of your response should be of the form "
    "Answer: $Answer (without quotes) where $Answer is the answer to the problem."
)
DAPO_TAIL = 'Remember to put your answer on its own line after "Answer:".'

HASH = 'Let\'s think step by step and output the final answer after "####".'
"""verl's instruction for GSM8K."""
THINK_ANSWER = (
    "Reason about the problem inside <think> </think> tags, and then give the final answer alone, without units or "
    "words, inside <answer> </answer> tags."
)


PROBLEM = "{problem}"
"""Where the problem goes in a template's text."""
FRAMES = ("none", "chatml", "model")


@dataclass(frozen=True)
class Example:
    """A problem that is shown with its completion, before the one that is asked."""

    problem: str
    completion: str


@dataclass(frozen=True)
class PromptTemplate:
    """How a problem becomes a prompt.

    Attributes:
        name: As in the literature.
        text: The user's text, with `{problem}` where the problem goes.
        frame: "none" (the text is the prompt), "chatml" (literal ChatML), or "model" (the tokenizer's template).
        system: System turn of the frame; without one a "model" frame has the model's own default.
        answer_form: The form it asks the final answer in, see `aepo_rllib.envs.grading.answers`; None where it leaves
            that to the problem, or to the model's habit.
        examples: Shown first: before the text where there is no frame, else as turns of the chat.
    """

    name: str
    text: str = "{problem}"
    frame: Literal["none", "chatml", "model"] = "none"
    system: str | None = None
    answer_form: str | None = None
    examples: tuple[Example, ...] = ()

    def render(self, problem: str) -> str:
        """The user's text for a problem. Braces in the problem are left alone."""
        shown = [] if self.turns else [f"{self._around(each.problem)} {each.completion}" for each in self.examples]
        return "\n\n".join([*shown, self._around(problem)])

    @property
    def turns(self) -> tuple[tuple[str, str], ...]:
        """What the frame's chat says first, as (role, text): the system turn, and the examples."""
        if self.frame == "none":
            return ()
        said = [("system", self.system)] if self.system else []
        for each in self.examples:
            said += [("user", self._around(each.problem)), ("assistant", each.completion)]
        return tuple(said)

    def _around(self, problem: str) -> str:
        head, _, tail = self.text.partition(PROBLEM)
        return f"{head}{problem}{tail}"


TEMPLATES = {
    template.name: template
    for template in (
        PromptTemplate("plain"),
        PromptTemplate("chat", "{problem}", "model"),
        PromptTemplate("aepo-think", "{problem} " + THINK, "model", answer_form="box"),
        PromptTemplate("qwen25-math-cot", "{problem}", "chatml", BOXED, answer_form="box"),
        PromptTemplate("qwen-boxed", "{problem}\n" + BOXED, "chatml", "You are a helpful assistant.", "box"),
        PromptTemplate("dapo", f"{DAPO_HEAD}\n\n{{problem}}\n\n{DAPO_TAIL}", answer_form="answer-line"),
        PromptTemplate("boxed", BOXED + "\n\n{problem}", answer_form="box"),
        PromptTemplate("gsm8k-hash", "{problem} " + HASH, "model", answer_form="hash"),
        PromptTemplate("think-answer", "{problem}", "model", THINK_ANSWER, "answer-tag"),
        PromptTemplate("question-answer", "Question: {problem}\nAnswer:"),
        PromptTemplate("problem-answer", "Problem: {problem}\nAnswer:"),
        PromptTemplate("minerva", "Problem:\n{problem}\n\nSolution:"),
    )
}


DEFAULT_FORM = "box"


def form_of(template: str, answer_form: str | None = None) -> str:
    """In which form answers to a template are read: as it asks, else as wanted, else in a box.

    Raises:
        ValueError: an unknown template, or one that asks for another form than is wanted.
    """
    asked = get_template(template).answer_form
    if asked is not None and answer_form not in (None, asked):
        raise ValueError(
            f"prompt template {template!r} asks for the answer form {asked!r}, and answer_form={answer_form!r} would "
            "read another; leave answer_form out, or choose another template"
        )
    return answer_form or asked or DEFAULT_FORM


def get_template(name: str) -> PromptTemplate:
    """The template of this name: one of `TEMPLATES`, or one's own, see `aepo_rllib.envs.own_templates`.

    Raises:
        ValueError: there is none.
    """
    from aepo_rllib.envs.own_templates import is_own_template, own_template  # which imports `PromptTemplate`

    if isinstance(name, str) and is_own_template(name):
        return own_template(name)
    if not isinstance(name, str) or name not in TEMPLATES:
        raise ValueError(
            f"unknown prompt template {name!r:.200}; choose one of {', '.join(TEMPLATES)}, or a FILE.yaml of your own"
        )
    return TEMPLATES[name]
