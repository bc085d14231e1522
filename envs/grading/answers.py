"""Reading the final answer out of a completion."""

from __future__ import annotations

import re

from aepo_rllib.envs.problems.problem import MAX_ANSWER_CHARS

_OPENINGS = (r"\boxed{", r"\fbox{")
_ESCAPE_OR_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def extract_answer(completion: str) -> str | None:
    r"""The content of the last `\boxed{...}` (or `\fbox{...}`) of `completion`, without surrounding blanks.

    Only the last box counts, so that listing several candidates gains nothing. Takes time linear in the
    length of the completion, whatever it holds.

    Returns:
        The answer, or None when there is no box, or the last one is unclosed, empty, or holds more than
        `MAX_ANSWER_CHARS` characters.
    """
    start = max(completion.rfind(opening) for opening in _OPENINGS)
    if start < 0:
        return None
    start = completion.index("{", start) + 1
    end = _closing_brace(completion, start)
    if end is None:
        return None
    answer = completion[start:end].strip()
    return answer if 0 < len(answer) <= MAX_ANSWER_CHARS else None


def _closing_brace(text: str, start: int) -> int | None:
    r"""The position of the brace that closes the group whose content begins at `start`; `\{` is no brace."""
    depth = 1
    for match in _ESCAPE_OR_BRACE.finditer(text, start):
        token = match.group()
        if token == "{":
            depth += 1
        elif token == "}":
            depth -= 1
            if depth == 0:
                return match.start()
    return None
