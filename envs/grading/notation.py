r"""One spelling for what is written in many: Unicode, Python, Markdown and LaTeX's styles become plain LaTeX.

Only what no careful reader would see a difference in is changed here. The work is linear in the text, or its square for
texts of nothing but brackets; an answer has 1,000 characters at most. Nothing is evaluated.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

from aepo_rllib.envs.grading.brackets import CLOSING, OPENING, argument, parenthesis
from aepo_rllib.envs.grading.signs import (
    BIGGER,
    CHARACTERS,
    COLOR,
    FUNCTIONS,
    SILENT,
    STYLED,
    SYNONYMS,
    TEXT,
    WORDS,
    WRAPPERS,
)

MAX_REPEATING_DIGITS = 100
_NESTED_STYLES = 3
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-")
_ROOTS = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}
_TEXT_GROUP = re.compile(r"\\text\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_UPRIGHT = re.compile(rf"\\text\s*\{{\s*((?:[ied]|-?[\d.,/]*\d)|\\?(?:{FUNCTIONS}))\s*\}}")
_PYTHON_MODULE = re.compile(r"(?<![A-Za-z.])(?:np|numpy|math|cmath|sympy|sp)\.([a-z][a-z0-9]*)")
_PYTHON_NAMES = {
    **{"asin": "arcsin", "acos": "arccos", "atan": "arctan", "log": "ln", "inf": "infty", "e": "exp(1)"},
    **{"log10": "log_{10}", "log2": "log_{2}"},
}
_THOUSANDS_SPACED = re.compile(
    r"(?<![\d.,])([1-9]\d{0,2})((?:(?:\\[,!;: ]|\\thinspace|~|[ \u00a0\u202f\u2009]|,\\!|\\!,)\s*\d{3})+)"
    r"(?!\d|\s*/)"
)
_THOUSANDS_COMMA = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?![\d,]|\.\d*,)")
_LIST_OF_THOUSANDS = re.compile(r"\d,\s+\d")
_CURRENCY = re.compile(r"\\\$\s*((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)")


def normalize(text: str) -> str:
    """`text` in the one spelling that is read, without a final dot."""
    text = _unwrap(_unicode(text).strip()).replace("{,}", ",").replace("{:}", ":")
    text = _currency(text)
    text = _THOUSANDS_SPACED.sub(lambda m: m[1] + re.sub(r"\D", "", m[2]), text)
    text = COLOR.sub("", BIGGER.sub("", text))
    for _ in range(_NESTED_STYLES):
        text = STYLED.sub(r"\1", text)
    text = re.sub(r"\\(?:text|mathrm|mathbf)\s+([A-Za-z])(?![A-Za-z])", r"\\text{\1}", text)
    text = _TEXT_GROUP.sub(_flat_text, TEXT.sub(r"\\text{", text))
    text = SILENT.sub(" ", _UPRIGHT.sub(r" \1 ", text))
    text = _python(text)
    for pattern, replacement in SYNONYMS:
        text = pattern.sub(replacement, text)
    text = _outside_texts(text, _signs)
    text = _thousands(text)
    text = _calls(text, r"\sqrt", r"\sqrt{%s}")
    text = _repeating(_brackets_of_powers(_outside_texts(_with_braces(text), _powers)))
    text = _unwrap(re.sub(r"\s+", " ", text).strip()).rstrip(". ")
    return _french(text)


def _french(text: str) -> str:
    """An interval that leaves its ends out by brackets turned outwards, `]0, 1[`, as `(0, 1)`."""
    match = re.fullmatch(r"([\[\]])([^\[\]()]+,[^\[\]()]+)([\[\]])", text)
    if match is None or (match[1], match[3]) == ("[", "]"):
        return text
    return f"{'(' if match[1] == ']' else '['}{match[2]}{')' if match[3] == '[' else ']'}"


def _unicode(text: str) -> str:
    """Signs as LaTeX; what is left of compatibility forms (full-width digits) in its usual form."""
    text = re.sub(r"³√|\^3√", "∛", text)
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda m: f"^{{{m[0].translate(_SUPERSCRIPTS)}}}", text)
    text = re.sub(r"[₀₁₂₃₄₅₆₇₈₉₊₋]+", lambda m: f"_{{{m[0].translate(_SUBSCRIPTS)}}}", text)
    text = re.sub(r"(\d?)([¼½¾⅐-⅞↉])", _fraction_sign, text)
    text = re.sub(r"([√∛∜])\s*(\d+|[A-Za-z]|[({])", lambda m: _ROOTS[m[1]] + _opened(m[2]), text)
    return unicodedata.normalize("NFKC", text.translate(CHARACTERS))


def _opened(argument: str) -> str:
    """What follows a root sign: a bracket as it is, anything else in braces."""
    return argument if argument in "({" else f"{{{argument}}}"


def _fraction_sign(match: re.Match[str]) -> str:
    top, bottom = unicodedata.normalize("NFKC", match[2]).split("\N{FRACTION SLASH}")
    return rf"{match[1]}\frac{{{top}}}{{{bottom}}}"


def _unwrap(text: str) -> str:
    """Without the marks that stand around the whole of it."""
    for _ in range(8):
        inner = next((m[1].strip() for pattern in WRAPPERS if (m := pattern.fullmatch(text))), text)
        if inner == text:
            return text
        text = inner
    return text


def _currency(text: str) -> str:
    r"""Signs before a number as units behind it; a final percent sign as a word, any other dropped."""
    text = re.sub(r"\\(?:textdollar|dollar)(?![A-Za-z])(?:\{\})?", r"\\$", text)
    text = re.sub(r"\\text\s*\{\s*\\\$\s*([\d.,]*)\s*\}", r"\\$\1", text)
    text = re.sub(r"(?:US|U\.S\.)\s*(?=\\?\$)", "", text)
    text = _CURRENCY.sub(r"\1\\text{ dollars}", text)
    text = re.sub(r"\\text\{ dollars\}(?=\s*(?:\\text\s*\{\s*)?(?:thousand|million|billion|trillion))", "", text)
    text = re.sub(r"\bper cent\b", "percent", text)
    text = re.sub(r"\\(?:pounds|textsterling)(?![A-Za-z])(?:\{\})?", r"\\text{ gbp}", text)
    text = re.sub(r"\\(?:euro|texteuro)(?![A-Za-z])(?:\{\})?", r"\\text{ euro}", text)
    text = re.sub(r"^\s*(\\text\{ (?:euro|gbp|yen|inr)\})\s*([\d.,]+)$", r"\2\1", text)
    text = re.sub(r"^\s*(?:\\text\s*\{\s*)?(USD|EUR|GBP|Rs\.?|INR)(?:\s*\})?\s*([\d.,]+)$", r"\2 \\text{ \1}", text)
    text = text.replace(r"\$", "").replace("$", "")
    text = re.sub(r"\s*\\?%\s*\.?\s*(?=$|=|\\approx)", r" \\text{ percent}", text)
    return text.replace(r"\%", "").replace("%", "").strip()


def _flat_text(match: re.Match[str]) -> str:
    r"""A text without braces and spacing commands in it: `\text{m\,s^{-1}}` as `\text{m s^-1}`."""
    content = re.sub(r"\\[,;:! ]|~", " ", match[1]).replace("{", "").replace("}", "")
    return rf"\text{{{content}}}"


def _python(text: str) -> str:
    """Names of Python's modules as LaTeX has them, `**` as `^`."""
    text = _PYTHON_MODULE.sub(lambda m: f"\\{_PYTHON_NAMES.get(m[1], m[1])} ", text)
    text = text.replace(r"\fabs ", "abs").replace(r"\abs ", "abs").replace("**", "^")
    return _calls(text, "abs", "|%s|")


def _outside_texts(text: str, change: Callable[[str], str]) -> str:
    r"""What stands outside of `\text{...}`, changed."""
    pieces = re.split(r"(\\text\s*\{[^{}]*\})", text)
    pieces[::2] = map(change, pieces[::2])
    return "".join(pieces)


def _signs(text: str) -> str:
    """Words that stand for signs: `or`, `pi`, `sqrt`."""
    for pattern, replacement in WORDS:
        text = pattern.sub(replacement, text)
    return text


def _thousands(text: str) -> str:
    """Commas dropped inside of numbers: outside of brackets, or where others, with blanks, part the entries."""
    if _LIST_OF_THOUSANDS.search(text):
        return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    depth, pieces = 0, []
    for piece in re.split(r"([()\[\]]|\\langle|\\rangle|\\[{}])", text):
        if piece in OPENING or piece in CLOSING:
            depth = max(0, depth + (1 if piece in OPENING else -1))
        elif depth == 0:
            piece = _THOUSANDS_COMMA.sub(lambda m: m[0].replace(",", ""), piece)
        pieces.append(piece)
    return "".join(pieces)


def _calls(text: str, name: str, form: str) -> str:
    """`name(...)` in another form, innermost brackets included."""
    start, opening = 0, re.compile(rf"(?<![A-Za-z\\]){re.escape(name)}\s*\(")
    while (found := opening.search(text, start)) is not None:
        end = parenthesis(text, found.end())
        if end is None:
            break
        text = text[: found.start()] + form % text[found.end() : end] + text[end + 1 :]
        start = found.start() + 1
    return text


def _with_braces(text: str) -> str:
    r"""Arguments in braces: `\frac12`, `\sqrt3`, `\binom ab`."""
    start, command = 0, re.compile(r"\\(frac|binom|sqrt)(?![A-Za-z])")
    while (found := command.search(text, start)) is not None:
        place, wanted = found.end(), 1 if found[1] == "sqrt" else 2
        option = re.compile(r"\s*\[[^\[\]]*\]").match(text, place) if wanted == 1 else None
        pieces = [option.group().strip() if option else ""]
        place = option.end() if option else place
        for _ in range(wanted):
            taken = argument(text, place)
            if taken is None:
                return text
            content, place = taken
            pieces.append(f"{{{content}}}")
        text = f"{text[: found.start()]}\\{found[1]}{''.join(pieces)}{text[place:]}"
        start = found.start() + 1
    return text


def _powers(text: str) -> str:
    """Exponents in braces, `x^-1`, `2^10`, and indices likewise."""
    text = re.sub(r"\^\s*([+-]?\d+(?:\.\d+)?)", r"^{\1}", text)
    text = re.sub(r"_\s*(\d+|[A-Za-z]{3,}(?![A-Za-z])|[A-Za-z])", r"_{\1}", text)
    return re.sub(r"\^\s*([+-])\s*([A-Za-z])", r"^{\1\2}", text)


def _brackets_of_powers(text: str) -> str:
    r"""`x^(n+1)` as `x^{n+1}`, and `x_{\text{max}}` as `x_{max}`."""
    text = re.sub(r"_\s*\{?\s*\\text\s*\{\s*([^{}]*?)\s*\}\s*(\d*)\s*\}?", r"_{\1\2}", text)
    start, opening = 0, re.compile(r"\^\s*\(")
    while (found := opening.search(text, start)) is not None:
        end = parenthesis(text, found.end())
        if end is None:
            break
        text = f"{text[: found.start()]}^{{{text[found.end() : end]}}}{text[end + 1 :]}"
        start = found.start() + 1
    return text


_DIGITS = r"(?<![\d.])(\d*)\.(\d*)"
_REPEATING: Sequence[re.Pattern[str]] = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_DIGITS}\\(?:overline|bar)\s*\{{(\d+)\}}",
        rf"{_DIGITS}\\(?:overline|bar)\s*(\d)",
        rf"{_DIGITS}\((\d+)\)(?![\d(])",
        rf"{_DIGITS}(\\dot\s*\{{?\d\}}?\d*\\dot\s*\{{?\d\}}?)",
        rf"{_DIGITS}(\\dot\s*\{{?\d\}}?)",
        r"(?<![\d.])(\d*)\.(\d*?)(\d+?)\3{2,}\s*\\ldots",
        r"(?<![\d.])(\d*)\.(\d*?)(\d{2,}?)\3\s*\\ldots",
    )
)


def _repeating(text: str) -> str:
    r"""Decimals that repeat as fractions: `0.1\overline{6}`, `0.\dot{3}`, `0.(3)`, `0.333\ldots`."""
    for pattern in _REPEATING:
        text = pattern.sub(lambda m: _as_fraction(m[1], m[2], re.sub(r"\D", "", m[3])) or m[0], text)
    return text


def _as_fraction(whole: str, fixed: str, period: str) -> str | None:
    """whole.fixed(period) as a fraction."""
    if len(whole) + len(fixed) + len(period) > MAX_REPEATING_DIGITS:
        return None
    bottom = (10 ** len(period) - 1) * 10 ** len(fixed)
    top = int((whole or "0") + fixed + period) - int((whole or "0") + fixed)
    return rf"\frac{{{top}}}{{{bottom}}}"
