r"""Reading the final answer out of a completion, in the form that the prompt asked for.

    box          the last `\boxed{...}`
    answer-line  what follows the last `Answer:`, to the end of its line
    hash         what follows the last `####`, to the end of its line
    answer-tag   the last `<answer>...</answer>`
    minerva      what follows the last `final answer is`, to the end of its sentence

A box inside of what another form finds is opened: `Answer: $\boxed{5}$` states 5. Every form reads the last
statement alone, so that listing several candidates gains nothing, and takes time linear in the completion.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from aepo_rllib.envs.grading.brackets import closing_brace
from aepo_rllib.envs.problems.problem import MAX_ANSWER_CHARS

_BOX = re.compile(
    r"\\(?:boxed|fbox)(?![A-Za-z])[ \t]*\n?[ \t]*"
    r"(?:\{|(\\[dt]?frac\s*(?:\{[^{}]*\}|\d)\s*(?:\{[^{}]*\}|\d)|\\?[A-Za-z]+|[-+]?\d+(?:[./]\d+)?))"
)
_BETWEEN_BOXES = re.compile(
    r"(?:[\s$,;.:()]|\\q?quad|\\text\s*\{\s*,?\s*(?:and|or)?\s*,?\s*\}|\band\b|\bor\b|[A-Za-z]\w*\s*=)*"
)
_MAX_BETWEEN = 40
MAX_BOXES = 16
"""Of a list whose items have a box each."""
_ANSWER_LINE = re.compile(r"(?i:(?<![a-z])answer)\s*(?:\*\*|__)?\s*:\s*(?:\*\*|__)?\s*")
_FINAL = re.compile(r"(?i:final answer is)\s*:?[ \t]*")
_SENTENCE_END = re.compile(r"\.?\s*(?:I hope it is correct|\n)|\.\s*$|\.\s+(?=[A-Z])")
_TAG = re.compile(r"</?answer>", re.IGNORECASE)


def extract_answer(completion: str, *, several: bool = False) -> str | None:
    r"""The content of the last `\boxed{...}` (or `\fbox{...}`, `\boxed 5`), without surrounding blanks.

    Args:
        completion: Text of a model.
        several: Whether the known answer is a list. Then boxes that stand beside the last one, with no more than a
            comma or "and" between, are taken together, as in `$\boxed{2}$ and $\boxed{3}$`.

    Returns:
        The answer, or None when there is no box, or the last one is unclosed, empty, or holds more than
        `MAX_ANSWER_CHARS` characters.
    """
    boxes = _last_boxes(completion, MAX_BOXES if several else 1)
    if boxes and "," in boxes[-1]:  # a list by itself, said twice
        boxes = boxes[-1:]
    return _checked(", ".join(boxes))


def extract_answer_line(completion: str, *, several: bool = False) -> str | None:
    """What follows the last `Answer:`; arguments as in `extract_answer`."""
    tail = _after_last(_ANSWER_LINE, completion)
    return None if tail is None else _opened(tail.partition("\n")[0], several)


def extract_hash(completion: str, *, several: bool = False) -> str | None:
    """What follows the last `####`, as in GSM8K's solutions; arguments as in `extract_answer`."""
    _, mark, tail = completion.rpartition("####")
    return _opened(tail.strip(" \t").partition("\n")[0], several) if mark else None


def extract_tag(completion: str, *, several: bool = False) -> str | None:
    """The last `<answer>...</answer>`; arguments as in `extract_answer`."""
    marks = [(match.start(), match.end(), match.group()[1] == "/") for match in _TAG.finditer(completion)]
    if len(marks) < 2 or not marks[-1][2] or marks[-2][2]:
        return None
    return _opened(completion[marks[-2][1] : marks[-1][0]], several)


def extract_minerva(completion: str, *, several: bool = False) -> str | None:
    """What follows the last `final answer is`, as in the prompt of Minerva; arguments as in `extract_answer`."""
    tail = _after_last(_FINAL, completion)
    if tail is None:
        return None
    end = _SENTENCE_END.search(tail)
    return _opened(tail[: end.start()] if end else tail, several)


class Form(Protocol):
    """How answers are read in one form."""

    def __call__(self, completion: str, *, several: bool = False) -> str | None:
        """The final answer, see `extract_answer`."""


FORMS: Mapping[str, Form] = {
    "box": extract_answer,
    "answer-line": extract_answer_line,
    "hash": extract_hash,
    "answer-tag": extract_tag,
    "minerva": extract_minerva,
}
"""The forms by name, as prompt templates call them."""


def _last_boxes(completion: str, most: int) -> list[str]:
    """Contents of the last box and of those right before it, in their order."""
    openings = list(_BOX.finditer(completion))
    boxes: list[str] = []
    following = len(completion)
    for match in reversed(openings[-most:]):
        end = match.end() if match[1] else closing_brace(completion, match.end())
        if end is None:
            break
        between = completion[end + (not match[1]) : following]
        if boxes and (len(between) > _MAX_BETWEEN or not _BETWEEN_BOXES.fullmatch(between)):
            break
        boxes.insert(0, match[1] or completion[match.end() : end].strip())
        following = match.start()
    return boxes


def _after_last(mark: re.Pattern[str], completion: str) -> str | None:
    """What follows the last mark, as much of it as an answer may have."""
    ends = [match.end() for match in mark.finditer(completion)]
    return completion[ends[-1] : ends[-1] + 3 * MAX_ANSWER_CHARS] if ends else None


def _opened(stated: str, several: bool) -> str | None:
    """A statement without the box around it, or its final dot."""
    stated = stated.strip()
    if _BOX.search(stated):
        return extract_answer(stated, several=several)
    return _checked(stated.strip("* ").removesuffix("."))


def _checked(answer: str) -> str | None:
    answer = answer.strip()
    return answer if 0 < len(answer) <= MAX_ANSWER_CHARS else None
