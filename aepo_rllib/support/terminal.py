"""What may reach a terminal: text of files and models must not move the cursor, set the title or forge a line."""

from __future__ import annotations

import re

# C0 and C1 controls, line and paragraph separators, marks that turn the direction of text, lone surrogates.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_UNSAFE_BUT_LINES = re.compile(_UNSAFE.pattern.replace(r"\x00-\x1f", r"\x00-\x08\x0b-\x1f"))


def visible(text: object, *, lines: bool = False) -> str:
    r"""A text with every character that a terminal would act upon written as its escape, such as `\x1b`.

    Args:
        text: What to show.
        lines: Leave line breaks and tabs as they are: for a text that is shown as a block of its own.
    """
    pattern = _UNSAFE_BUT_LINES if lines else _UNSAFE
    return pattern.sub(lambda match: ascii(match.group())[1:-1], str(text))
