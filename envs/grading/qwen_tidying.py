"""How the verifier `qwen2.5-math` makes two answers alike before it compares them, step by step.

`aepo_rllib.envs.grading.qwen_text` says whose protocol this is. Every step takes time linear in the text and raises
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from word2number.w2n import word_to_num

_UNITS = re.compile(
    r"""(?<!\w)(?:
        [a-hs][ ].|rs[ ].|sq[ ].[ ]m  # meant as abbreviations, but any character does for the dot
        |m|cm|mm|km|meter|metre|inch|inche|ft|feet|yard|mile|acre|hectare
        |kg|g|gm|lb|l|liter|litre|gal|gallon
        |second|sec|minute|min|hour|hr|h|day|month|year|yr|am|pm|mph|kmph|rupee|rs
        |degree|deg|percent|ratio|number|unit|square|sq|cubic|prime|rise|more|less|per|by|are
        |east|west|men|women|soldier|apple|coin|tile|mark
        |a|c|d|o|s|t|ab|bc|st|th
    )s?(?!\w)""",
    re.VERBOSE,
)
"""Words that count as units, single letters among them: `a + b` loses its `a +`, and `e^{t}` its `t`."""

Step = Callable[[str], str]


def tidy(text: str) -> str:
    """`text` after all steps of `_STEPS`, in order."""
    for step in _STEPS:
        text = step(text)
    return text


def _replace(*pairs: tuple[str, str]) -> Step:
    """A step that replaces substrings, one pair after the other."""

    def step(text: str) -> str:
        for old, new in pairs:
            text = text.replace(old, new)
        return text

    return step


def _delete(*parts: str) -> Step:
    """A step that deletes substrings, one after the other."""
    return _replace(*((part, "") for part in parts))


def _substitute(pattern: str, replacement: str) -> Step:
    """A step that replaces what a regular expression matches."""
    compiled = re.compile(pattern)
    return lambda text: compiled.sub(replacement, text)


def _drop_closing_text(text: str) -> str:
    r"""Delete from the first `\text{` on, if a brace ends the text; unless nothing would remain."""
    start = text.find(r"\text{")
    remaining = text[:start].strip() if start >= 0 and text.endswith("}") else ""
    return remaining or text


def _drop_units(text: str) -> str:
    """Delete words for units that stand alone, unless nothing would remain."""
    for _ in range(2):
        text = _UNITS.sub("", text) or text
    return text


def _read_number_words(text: str) -> str:
    """The number alone if number words, or nothing but digits, spell one."""
    try:
        return str(word_to_num(text))
    except Exception:  # it raises several kinds for what is no number, and this runs on any text
        return text


def _spell_infinity(text: str) -> str:
    text = text.replace("infinity", r"\infty")
    return text if r"\infty" in text else text.replace("inf", r"\infty")


def _spell_imaginary_unit(text: str) -> str:
    return text if "i" in text else text.replace("j", "i")


def _drop_left_side(text: str) -> str:
    """The right side of the only equation, if the left is a short name."""
    left, _, right = text.partition("=")
    return right if text.count("=") == 1 and len(left) <= 2 else text


def _brace_fractions(text: str) -> str:
    r"""Braces around the single characters of `\frac12` and `\frac1{72}`; a fraction cut short spoils the attempt."""
    head, *fractions = text.split(r"\frac")
    if any(not rest.startswith("{") and len(rest) < 2 for rest in fractions):
        return text
    return head + "".join(rf"\frac{_braced(rest)}" for rest in fractions)


def _braced(rest: str) -> str:
    if rest.startswith("{"):
        return rest
    upper, lower = rest[0], rest[1]
    return f"{{{upper}}}{rest[1:]}" if lower == "{" else f"{{{upper}}}{{{lower}}}{rest[2:]}"


def _stack_fraction(text: str) -> str:
    r"""`\frac{a}{b}` for a text that is a/b, with integers or square roots."""
    above, _, below = text.partition("/")
    return rf"\frac{{{above}}}{{{below}}}" if text.count("/") == 1 and _plain(above) and _plain(below) else text


def _plain(text: str) -> bool:
    return "sqrt" in text or re.fullmatch(r"0|-?[1-9][0-9]*", text) is not None


_STEPS: tuple[Step, ...] = (
    str.strip,
    _delete("\n"),
    lambda text: text.rstrip("."),
    _delete(r"\!"),
    # One spelling for what LaTeX spells in several ways.
    _substitute(r"\\begin\{array\}\{[^{}]*\}", r"\\begin{pmatrix}"),
    _replace((r"\end{array}", r"\end{pmatrix}"), ("bmatrix", "pmatrix")),
    _replace(("tfrac", "frac"), ("dfrac", "frac")),
    _replace((r"\neq", r"\ne"), (r"\leq", r"\le"), (r"\geq", r"\ge")),
    _delete(r"\left", r"\right"),
    _replace((r"\{", "{"), (r"\}", "}")),
    # Units, in LaTeX or not.
    _drop_closing_text,
    _drop_units,
    _delete(r"^{\circ}", r"^\circ", r"\$", "$", r"\(", r"\)"),
    _read_number_words,
    _substitute(r"\\text\{([^}]*)\}", r"\1"),
    # What is being solved for.
    _delete("x=", "y=", "z=", r"x\in", r"y\in", r"z\in", r"x\to", r"y\to", r"z\to"),
    _replace((r"\emptyset", "{}"), (r"(-\infty,\infty)", r"\mathbb{R}")),
    _delete(r"\%", "%"),
    _replace((" .", " 0."), ("{.", "{0.")),
    _spell_infinity,
    _delete("and", r"\mathbf"),
    _substitute(r"\\mbox\{[^}]*\}", ""),
    _spell_imaginary_unit,
    _substitute(r"(?<=\d)\.0*([^0-9]|$)", r"\1"),
    _substitute(r"^\.", "0."),
    _drop_left_side,
    _substitute(r"\\sqrt(\w+)", r"\\sqrt{\1}"),
    _delete(" "),
    _brace_fractions,
    _stack_fraction,
)
"""How both sides are made alike, in this order. Some steps do harm, but published scores have it, too."""
