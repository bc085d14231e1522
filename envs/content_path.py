r"""The content path of a solution: its numbers and operators in their order. Everything else is style.

Two solutions that calculate the same things in the same order have one path, whatever words, names of unknowns, layout
or notation surround them:

    So 7*4 gives 28, and now 28+6 makes 34.        7 * 4 28 28 + 6 34
    First, $7 \times 4 = 28$. Then $28 + 6 = 34$.  7 * 4 28 28 + 6 34

* Kept are numbers, by value as far as spelling shows it (`1,000` is `1000`, `0.50` is `0.5`), and `+ - * / ^`, roots
  and plus-minus in the spellings of LaTeX, Unicode and plain text; `\frac{a}{b}` is a/b.
* Dropped are letters, brackets, relations (`=` is as often a word: "is", "gives"), hyphens and slashes inside of words,
  and what numbers or marks an item at the beginning of a line (`2.`, `Step 3:`, `-`).

What follows: operators that are written as words are not seen, nor is grouping but in its results; the order counts,
so that 3*4 and 4*3 differ; texts without a number have the empty path in common. Takes time linear in the text.
"""

from __future__ import annotations

import hashlib
import re

MAX_PATH_CHARS = 1 << 16
"""What stands beyond is not read."""

_ITEM = re.compile(
    r"^[ \t]*(?:[-+*•#>]+[ \t]+)*(?:\**step[ \t]*[0-9]{1,3}\b[.:)]*|[0-9]{1,3}[.)](?=[ \t*]))?",
    re.IGNORECASE | re.MULTILINE,
)
_TAG = re.compile(r"</?[A-Za-z]\w{0,30}>")
_INSIDE_WORDS = re.compile(r"[-/](?:(?<=[A-Za-z]{2}.)(?=[A-Za-z])|(?<=[A-Za-z0-9].)(?=[A-Za-z]{2}))")
_FRACTION = re.compile(r"\\[dtc]?frac\s*(?:\{([^{}]*)\}\s*\{([^{}]*)\}|([0-9])\s*([0-9]))")
_FRACTION_LEFT = re.compile(r"\\[dtc]?frac(?![A-Za-z])")
_SPELLINGS = (
    (r"^{\circ}", ""),
    (r"^\circ", ""),
    (r"\times", "*"),
    (r"\cdot", "*"),
    (r"\div", "/"),
    (r"\sqrt", "√"),
    (r"\pm", "±"),
    ("{,}", ","),
    (r"\,", ""),
    ("**", " "),
    *((sign, "*") for sign in "×·⋅∗"),
    *((sign, "/") for sign in "÷∕"),
    ("−", "-"),
    ("²", "^2"),
    ("³", "^3"),
)
_PART = re.compile(r"[-+*/^√±0-9.](?<!\.(?![0-9]))(?:(?<=[0-9.])[0-9.,]*)?")
"""An operator, or a run of what numbers are written with. It begins with one set, which makes the search fast."""
_UNTIDY = re.compile(r"(?<![^ ])(?=[0-9]*[.,]|0[0-9])[0-9.,]+")
"""A run that is not the number that it stands for."""
_NUMBER = re.compile(r"([0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)?(\.[0-9]+)?")


def content_path(text: str) -> str:
    """Numbers and operators of a solution in their order, with blanks between them."""
    text = _ITEM.sub("", text[:MAX_PATH_CHARS])
    for written, meant in _SPELLINGS:
        text = text.replace(written, meant)
    if "frac" in text:
        text = _FRACTION_LEFT.sub("/", _FRACTION.sub(_as_division, text))
    text = _INSIDE_WORDS.sub(" ", _TAG.sub(" ", text))
    return _UNTIDY.sub(_tidied, " ".join(_PART.findall(text)))


def path_key(text: str) -> str:
    """What two solutions with the same content path share, and others do not: 16 characters, however long they are."""
    return hashlib.blake2b(content_path(text).encode(), digest_size=8).hexdigest()


def _as_division(fraction: re.Match[str]) -> str:
    top, bottom = fraction.group(1, 2) if fraction[1] is not None else fraction.group(3, 4)
    return f" {top}/{bottom} "


def _tidied(run: re.Match[str]) -> str:
    """The numbers of a run, each in its one spelling."""
    return " ".join(_spelled(*number) for number in _NUMBER.findall(run[0]) if any(number))


def _spelled(whole: str, places: str) -> str:
    whole, places = whole.replace(",", "").lstrip("0") or "0", places[1:].rstrip("0")
    return f"{whole}.{places}" if places else whole
