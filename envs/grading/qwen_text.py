r"""The textual half of the verifier `qwen2.5-math`: where an answer is, how it is tidied, what spelling alone shows.

It follows, in our own words, the evaluation of Qwen2.5-Math (repository QwenLM/Qwen2.5-Math, commit a45202b,
data set name `math`), so that scores compare with published ones. That protocol is lenient on purpose, and crude:
words for units vanish, so does a percent sign, and numbers may differ by a factor of 100. The other half, algebra,
is `aepo_rllib.envs.grading.qwen`. Everything here takes time linear in the text and raises nothing.

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
from collections.abc import Callable
from functools import lru_cache

from word2number.w2n import word_to_num

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


def tidy(text: str) -> str:
    """`text` after all steps of `_STEPS`, in order."""
    for step in _STEPS:
        text = step(text)
    return text


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


# ------------------------------------------------------------------------------------------------- steps of `tidy`

Step = Callable[[str], str]


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
