r"""The textual half of the verifier `qwen2.5-math`: where an answer is, and what spelling alone shows.

It follows, in our own words, the evaluation of Qwen2.5-Math (repository QwenLM/Qwen2.5-Math, commit a45202b,
data set name `math`), so that scores compare with published ones. That protocol is lenient on purpose, and crude:
words for units vanish, so does a percent sign, and numbers may differ by a factor of 100. Texts are tidied in
`aepo_rllib.envs.grading.qwen_tidying`; the other half, algebra, is `aepo_rllib.envs.grading.qwen`. Everything here
takes time linear in the text and raises nothing.

For scores, not for rewards: a model in training would soon find how little it takes to be called right.

What differs from the published protocol:

- To a multiple-choice problem (known answer A to E) it searches the whole completion for a letter if the final
  answer is none. Here only the final answer is searched: `\boxed{A and B}` is no longer B, for blanks are gone then.
- An empty final answer, or a very long one, is no answer. The protocol takes an empty one for an answer, to compare
  with an empty known answer, and to a problem without a known answer every answer is right; here none is.
- The list of unit words is rebuilt from a description of theirs, so a rare unit may be missing.
"""

from __future__ import annotations

import math
import re
from collections import deque
from functools import lru_cache

from aepo_rllib.envs.grading.qwen_tidying import tidy
from aepo_rllib.envs.problems.problem import MAX_ANSWER_CHARS, Problem

_MAX_RAW_CHARS = 3 * MAX_ANSWER_CHARS
"""A text this long is no answer after tidying either, and is not tidied at all."""
_TOLERANCE = 1e-4
"""Relative to the larger of two numbers."""
_LETTERS = frozenset("ABCDE")
_LONE_LETTER = re.compile(r"\b[A-E]\b")
_BRACE = re.compile(r"[{}]")
_NUMBER = re.compile(r"-?\d*\.?\d+")
_BRACKETS = str.maketrans("", "", "{}()")


def extract_final(completion: str) -> str | None:
    """The final answer of `completion` as it is graded: found, tidied twice, never longer than other verifiers' ones.

    Returns:
        The answer, or None where there is none, or an empty or a very long one.
    """
    raw = _stated(completion.replace("ки", ""))
    if len(raw) > _MAX_RAW_CHARS:
        return None
    # Twice, as the protocol does it to answers of models, and the second time may find more to do.
    answer = tidy(_trimmed(raw))
    answer = tidy(answer)
    return answer if 0 < len(answer) <= MAX_ANSWER_CHARS else None


def judge_spelling(problem: Problem, answer: str) -> bool | None:
    """Whether spelling shows that `answer`, as `extract_final` returned it, is right or wrong; None if algebra must."""
    return spelling_verdict(*prepared(problem.answer, answer))


def prepared(gold: str, answer: str) -> tuple[str, str]:
    """What is compared: the known answer tidied once, and the choice alone if the known answer is one.

    Args:
        gold: The known answer, as a problem holds it.
        answer: The answer, as `extract_final` returned it.
    """
    known = _known(gold)
    if not known or not _LETTERS.issuperset(known) or _LETTERS.issuperset(answer):
        return known, answer
    if len(known) == 1:
        return known, _lone_letter(answer) or answer
    return known, "".join(letter for letter in answer if letter in _LETTERS)


def spelling_verdict(known: str, given: str) -> bool | None:
    """The verdict on two tidied texts as far as their spelling shows it; None if only algebra can tell."""
    if known.strip().lower() == given.strip().lower():
        return True
    if known in _LETTERS and _lone_letter(given) == known:
        return True
    known_value, given_value = _value(known), _value(given)
    if known_value is not None and given_value is not None:
        return any(close(candidate, given_value) for candidate in (known_value / 100, known_value, known_value * 100))
    if not given:
        return False
    # To the protocol a matrix equals only a matrix.
    if "pmatrix" in given and "pmatrix" not in known:
        return False
    return True if _equal_but_for_brackets(known, given) else None


def close(one: float, other: float) -> bool:
    """Whether two numbers agree up to the tolerance."""
    return math.isclose(one, other, rel_tol=_TOLERANCE)


def _stated(completion: str) -> str:
    """The text that states the answer: after a set phrase, in the last box, after other phrases, or a last number."""
    _, phrase, rest = completion.partition("final answer is $")
    if phrase and "$. I hope" in completion:
        return rest.partition("$. I hope")[0]
    _, box, rest = completion.rpartition("boxed")
    if box:
        return _boxed(rest)
    for phrase in ("he answer is", "final answer is"):
        _, found, rest = completion.rpartition(phrase)
        if found:
            return rest
    _, found, rest = completion.partition("答案是")
    if found:
        return rest.partition("答案是")[0].partition("\n\n")[0]
    last = deque(_NUMBER.finditer(completion.replace(",", "")), maxlen=1)
    return last[0].group() if last else ""


def _boxed(text: str) -> str:
    """The content of a box whose name `text` follows; all of `text` if it is not closed."""
    if not text.startswith("{"):
        return text.partition("$")[0].strip()
    depth = 0
    for brace in _BRACE.finditer(text):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return text[1 : brace.start()]
    return text[1:]


def _trimmed(text: str) -> str:
    """`text` on one line, without what punctuation leaves of the sentence around it."""
    return re.sub(r"\n\s*", "", text).removeprefix(":").removesuffix(".").removesuffix("/")


# Completions of one problem share the known answer.
@lru_cache(maxsize=128)
def _known(gold: str) -> str:
    """A known answer as it is compared."""
    return tidy(_trimmed(gold))


def _lone_letter(text: str) -> str | None:
    """The last letter A to E of `text` that stands alone, whatever its case."""
    letters = _LONE_LETTER.findall(text.upper())
    return letters[-1] if letters else None


def _value(text: str) -> float | None:
    """The number that `text` is, after deleting every comma, to Python's float; None for other text."""
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def _equal_but_for_brackets(known: str, given: str) -> bool:
    """Whether both are spelled alike when braces and parentheses do not count, and outer brackets mostly neither."""
    ends = given[:1] + given[-1:]
    if (ends == "[]" and not known.startswith("(")) or (ends == "()" and not known.startswith("[")):
        known, given = known.strip("[]()"), given.strip("[]()")
    return known.translate(_BRACKETS).lower() == given.translate(_BRACKETS).lower()
