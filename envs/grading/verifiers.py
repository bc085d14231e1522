"""The ways to judge an answer, by the name a problem or a suite calls them.

A verifier reads the answer out of a completion, in one of the forms of `aepo_rllib.envs.grading.answers`, and judges
it at once where that is cheap and safe. Where it cannot tell, the answer is compared with `problem.answer` in a worker
process, which alone imports the rule for that. To add one, enter it in the table.

A name with a colon is a reward function of the user's own (`aepo_rllib.envs.grading.rewards`); other names are looked
up in the entry points of that module's `GROUP`, each a `Verifier` or such a function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from aepo_rllib.envs.grading.answers import FORMS
from aepo_rllib.envs.grading.countdown import check_countdown
from aepo_rllib.envs.grading.literals import literal_verdict, numeric_verdict, percent_verdict, several_values
from aepo_rllib.envs.grading.qwen_text import extract_final, judge_spelling
from aepo_rllib.envs.grading.rewards import GROUP, load_reward
from aepo_rllib.envs.problems.problem import Problem
from aepo_rllib.envs.prompts import get_template
from aepo_rllib.support.plugins import find


def literal(problem: Problem, answer: str) -> bool | None:
    """Whether spelling alone shows that the answer is, or is not, the known one."""
    return literal_verdict(problem.answer, answer)


def percent(problem: Problem, answer: str) -> bool | None:
    """The same where a percent sign has a meaning."""
    return percent_verdict(problem.answer, answer)


def numeric(problem: Problem, answer: str) -> bool | None:
    """The same for plainly written numbers, with their rule's tolerance."""
    return numeric_verdict(problem.answer, answer)


def countdown(problem: Problem, answer: str) -> bool:
    """The answer has to use each of `extra["numbers"]` once and equal `extra["target"]`."""
    return check_countdown(answer, problem.extra["numbers"], problem.extra["target"])


@dataclass(frozen=True)
class Verifier:
    """One way to judge.

    Attributes:
        name: As problems and suites call it.
        judge: The verdict if it is cheap and safe to reach; None asks for a comparison. A reward function of the
            user's has none.
        rule: What decides what `judge` leaves open: `module:function`, called with the known and the given answer in a
            worker process, where it may take unlimited time and memory. None where `judge` leaves nothing open.
        forms: In which an answer may be stated, by name.
        own_extract: Reads the final answer out of a completion in a way of its own, whatever the form.
        needs: Keys of `problem.extra` that it cannot do without.
    """

    name: str
    judge: Callable[[Problem, str], bool | None] | None
    rule: str | None = None
    forms: frozenset[str] = frozenset(FORMS)
    own_extract: Callable[[str], str | None] | None = None
    needs: tuple[str, ...] = ()

    @property
    def compares(self) -> bool:
        """Whether it has a rule."""
        return self.rule is not None

    def extract(self, problem: Problem, completion: str, form: str) -> str | None:
        """The final answer of a completion; None where it states none."""
        if self.own_extract is not None:
            return self.own_extract(completion)
        return FORMS[form](completion, several=self.compares and several_values(problem.answer))


SPELLED = "spelled"
"""The rule, of no verifier, that says which known answers only their spelling decides."""
_HERE = "aepo_rllib.envs.grading"
VERIFIERS: Mapping[str, Verifier] = {
    verifier.name: verifier
    for verifier in (
        Verifier("math", literal, f"{_HERE}.symbolic:math_equal"),
        Verifier("math-percent", percent, f"{_HERE}.rules:math_percent"),
        Verifier("math-numeric", numeric, f"{_HERE}.rules:math_numeric"),
        Verifier("countdown", countdown, needs=("numbers", "target")),
        Verifier(
            "qwen2.5-math",
            judge_spelling,
            f"{_HERE}.qwen:qwen_equal",
            forms=frozenset({"box", "minerva"}),
            own_extract=extract_final,
        ),
    )
}


def get_verifier(name: str) -> Verifier:
    """The verifier of this name. A reward function of the user's is imported, which runs its module.

    Raises:
        ValueError: there is none.
    """
    return VERIFIERS[name] if name in VERIFIERS else _added(name)


@lru_cache(maxsize=64)
def _added(name: str) -> Verifier:
    found: Any = find("verifier", name, VERIFIERS, GROUP, kind="function")
    if isinstance(found, Verifier):
        return replace(found, name=name)
    load_reward(name)
    return Verifier(name, None)


def check_form(form: str, verifier: str, template: str | None = None) -> None:
    """Refuse an answer form that a verifier does not read.

    Args:
        form: The answer form.
        verifier: Name of the verifier.
        template: Name of the prompt template that asks for the form, for the message.

    Raises:
        ValueError: unknown verifier or form, or the two do not fit; says what would.
    """
    if form not in FORMS:
        raise ValueError(f"unknown answer form {form!r:.80}; choose one of {', '.join(FORMS)}")
    if form not in get_verifier(verifier).forms:
        readers = [name for name, other in VERIFIERS.items() if form in other.forms and other.compares]
        asked = template is not None and get_template(template).answer_form == form
        asks = f"prompt template {template!r} asks for answers" if asked else "answers are to be read"
        raise ValueError(
            f"{asks} in the form {form!r}, which the verifier {verifier!r} does not read (it reads "
            f"{', '.join(sorted(get_verifier(verifier).forms))}); choose another "
            f"{'template' if asked else 'answer_form'}, or one of the verifiers {', '.join(readers)}"
        )


def verifier_of(problem: Problem) -> Verifier:
    """The verifier that `problem` names.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        return get_verifier(problem.verifier)
    except ValueError as error:
        raise ValueError(f"problem {problem.id}: {error}") from None
