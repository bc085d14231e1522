r"""One spelling for what is written in many: Unicode, Python, Markdown and LaTeX's styles become plain LaTeX.

Only what no careful reader would see a difference in is changed here. Everything takes time linear in the text (some
patterns take it a few times over), and nothing is evaluated.
"""

from __future__ import annotations

import re
import unicodedata

from aepo_rllib.envs.grading.brackets import argument, parenthesis

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-")
_CHARACTERS = {
    **dict.fromkeys("−–—‐‑‒﹣－", "-"),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
    **dict.fromkeys("€£¥₹", ""),
    **{"×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "∕": "/", "∶": ":", "′": "'", "’": "'", "″": "''"},
    **{"≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≡": r"\equiv ", "±": r"\pm ", "∓": r"\mp "},
    **{"∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∖": r"\setminus ", "∅": r"\emptyset ", "∞": r"\infty "},
    **{"ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}"},
    **{"∨": r"\lor ", "∧": r"\land ", "⟨": r"\langle ", "⟩": r"\rangle ", "〈": r"\langle ", "〉": r"\rangle "},
    **{"∠": r"\angle ", "△": r"\triangle ", "°": r"^\circ ", "º": r"^\circ ", "˚": r"^\circ ", "…": r"\ldots "},
    **{"π": r"\pi ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta "},
    **{"λ": r"\lambda ", "μ": r"\mu ", "σ": r"\sigma ", "φ": r"\phi ", "ϕ": r"\phi ", "ω": r"\omega ", "ρ": r"\rho "},
    **{"ε": r"\epsilon ", "Δ": r"\Delta ", "ℓ": "l", "⁄": "/", "،": ","},
}
_CHARACTER_TABLE = {ord(character): text for character, text in _CHARACTERS.items()}
_ROOTS = (("√", r"\\sqrt"), ("∛", r"\\sqrt[3]"), ("∜", r"\\sqrt[4]"))

_WRAPPERS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"\$\$(.*)\$\$",
        r"\$([^$]*)\$",
        r"\\\((.*)\\\)",
        r"\\\[(.*)\\\]",
        r"\*\*([^*]+)\*\*",
        r"\*([^*]+)\*",
        r"__([^_]+)__",
        r"`+([^`]+)`+",
        r'"([^"]+)"',
        r"\{((?:[^{}]|\{[^{}]*\})*)\}",
        r"\\(?:boxed|fbox|mathbf|boldsymbol|bm|underline|underbar|emph|mathsf|mathtt|mathit|mathnormal|ensuremath)"
        r"\s*\{((?:[^{}]|\{[^{}]*\})*)\}",
    )
)
_SILENT = re.compile(
    r"\\(?:displaystyle|textstyle|scriptstyle|tiny|small|normalsize|large|Large|LARGE|huge|Huge|bf|it|rm|limits"
    r"|bigg?[lrm]?|Bigg?[lrm]?|left|right|middle|nolimits|hfill|quad|qquad|enspace|thinspace|strut|phantom\{\})"
    r"(?![A-Za-z])\.?|(?<!\\)\\[ ,;:!>]|\\text\s*\{\s*\}|~|(?<!\\)\\(?=\s)|\{\}"
)
_BIGGER = re.compile(r"\\(?:left|right|middle|bigg?[lrm]?|Bigg?[lrm]?)(?![A-Za-z])\s*\.?")
_UNWRAPPED = re.compile(
    r"\\(?:mathbf|boldsymbol|bm|underline|underbar|emph|mathsf|mathtt|mathit|mathnormal|mathcal|ensuremath|boxed|fbox"
    r"|color\s*\{[^{}]*\}|textcolor\s*\{[^{}]*\}|colorbox\s*\{[^{}]*\})\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
)
_COLOR = re.compile(r"\\color\s*(?:\{[^{}]*\}|[a-z]+(?![a-z]))")
_TEXT = re.compile(
    r"\\(?:textbf|textit|textrm|textsf|texttt|textup|textnormal|mbox|hbox|mathrm|operatorname\*?|emph)\s*\{"
)
_UPRIGHT = re.compile(r"\\text\s*\{\s*([ied]|-?[\d.,/]*\d)\s*\}")
_FUNCTION = (
    "sqrt|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|ln|log|exp|gcd|lcm|max|min"
    "|pi|theta|alpha|beta|gamma|lambda|infty"
)
_BARE_FUNCTION = re.compile(rf"(?<![\\A-Za-z])({_FUNCTION})(?![A-Za-z])")
_TEXT_FUNCTION = re.compile(rf"\\text\s*\{{\s*({_FUNCTION})\s*\}}")
_PYTHON_MODULE = re.compile(r"(?<![A-Za-z.])(?:np|numpy|math|cmath|sympy|sp)\.(?=[a-z])")
_PYTHON_NAME = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "log": "ln", "inf": "infty", "fabs": "abs"}
_SYNONYMS = (
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(?:leqslant|leq|lt=)(?![A-Za-z])|<=|=<"), r"\\le "),
    (re.compile(r"\\(?:geqslant|geq|gt=)(?![A-Za-z])|>="), r"\\ge "),
    (re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (re.compile(r"\\(?:neq|not\s*=)(?![A-Za-z])|!="), r"\\ne "),
    (re.compile(r"\\(?:approxeq|simeq|thickapprox|doteq|sim)(?![A-Za-z])|~="), r"\\approx "),
    (re.compile(r"\\(?:varnothing|O)(?![A-Za-z])|\\text\s*\{\s*Ø\s*\}|\\\{\s*\\\}"), r"\\emptyset "),
    (re.compile(r"\\lbrace(?![A-Za-z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![A-Za-z])"), r"\\}"),
    (re.compile(r"\\lbrack(?![A-Za-z])"), "["),
    (re.compile(r"\\rbrack(?![A-Za-z])"), "]"),
    (re.compile(r"\\(?:lparen|lgroup)(?![A-Za-z])"), "("),
    (re.compile(r"\\(?:rparen|rgroup)(?![A-Za-z])"), ")"),
    (re.compile(r"\\(?:vert|lvert|rvert)(?![A-Za-z])"), "|"),
    (re.compile(r"\\(?:ast|cdotp|bullet)(?![A-Za-z])"), r"\\cdot "),
    (re.compile(r"\\div(?![A-Za-z])"), "/"),
    (re.compile(r"\\(?:dots|cdots|dotsc|dotsb|dotso)(?![A-Za-z])|(?<=\d)\.\.\.+"), r"\\ldots "),
    (re.compile(r"\\(?:imath)(?![A-Za-z])"), "i"),
    (re.compile(r"\\(?:colon|ratio)(?![A-Za-z])"), ":"),
    (re.compile(r"\\(?:bigcup)(?![A-Za-z])"), r"\\cup "),
    (re.compile(r"\\(?:backslash|smallsetminus)(?![A-Za-z])"), r"\\setminus "),
    (re.compile(r"\\(?:R|reals|Reals)(?![A-Za-z])"), r"\\mathbb{R}"),
    (
        re.compile(r"\\(?:degree|textdegree)(?![A-Za-z])|\^\s*(?:\{\s*\\circ\s*\}|\\circ|o(?![A-Za-z])|\{o\})"),
        r"^\\circ ",
    ),
    (
        re.compile(
            r"\\(?:lor|vee)(?![A-Za-z])|\\text\s*\{\s*(?:,\s*)?(?:or|and/or)\s*\}|(?<![A-Za-z\\])or(?![A-Za-z])"
        ),
        r"\\lor ",
    ),
    (
        re.compile(
            r"\\(?:land|wedge)(?![A-Za-z])|\\text\s*\{\s*(?:,\s*)?and\s*\}|(?<![A-Za-z\\])and(?![A-Za-z])|\\&|&(?![^{]*\\end)"
        ),
        r"\\land ",
    ),
    (re.compile(r"\\text\s*\{\s*in\s*\}(?=\s*(?:\\mathbb|\\\{|\[|\())"), r"\\in "),
    (re.compile(r"(?<![A-Za-z\\])(?:infinity|inf|oo)(?![A-Za-z])"), r"\\infty "),
    (re.compile(r"(?<=\d)\s*(?:st|nd|rd|th)(?![A-Za-z])"), ""),
    (re.compile(r"(?<=\d)\s*\^?\s*\{?\s*\\text\s*\{\s*(?:st|nd|rd|th)\s*\}\s*\}?"), ""),
    (re.compile(r"\+\s*\\infty"), r"\\infty"),
    (re.compile(r"\\text\s*\{\s*\}"), ""),
)
_THOUSANDS_SPACED = re.compile(
    r"(?<![\d.,])([1-9]\d{0,2})((?:(?:\\[,!;: ]|~|[ \u00a0\u202f\u2009]|\{,\}|,\\!|\\!,)\s*\d{3})+)(?!\d|\s*/)"
)
_THOUSANDS_COMMA = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])")
_SPACES = re.compile(r"\s+")


def normalize(text: str) -> str:
    r"""`text` in the one spelling that is read; percent and dollar signs and a final dot have gone."""
    text = _unicode(text)
    text = _unwrap(text.strip())
    text = _without_currency(text)
    text = _THOUSANDS_SPACED.sub(lambda m: m[1] + re.sub(r"\D", "", m[2]), text)
    text = text.replace("{,}", ",")
    text = _BIGGER.sub("", text)
    text = _COLOR.sub("", text)
    for _ in range(3):
        text = _UNWRAPPED.sub(r"\1", text)
    text = _TEXT.sub(r"\\text{", text)
    text = _SILENT.sub(" ", text)
    text = _UPRIGHT.sub(r" \1 ", text)
    text = _TEXT_FUNCTION.sub(r"\\\1 ", text)
    text = _python(text)
    for pattern, replacement in _SYNONYMS:
        text = pattern.sub(replacement, text)
    text = _BARE_FUNCTION.sub(r"\\\1 ", text)
    text = _outside_parentheses(_THOUSANDS_COMMA, text)
    text = _calls(text, r"\sqrt", r"\sqrt{%s}")
    text = _powers(_with_braces(text))
    text = _repeating(text)
    return _unwrap(_SPACES.sub(" ", text).strip()).rstrip(". ")


def _unicode(text: str) -> str:
    """Signs as LaTeX; what is left of compatibility forms (full-width digits) in its usual form."""
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda m: f"^{{{m[0].translate(_SUPERSCRIPTS)}}}", text)
    text = re.sub(r"[₀₁₂₃₄₅₆₇₈₉₊₋]+", lambda m: f"_{{{m[0].translate(_SUBSCRIPTS)}}}", text)
    text = re.sub(r"(\d?)([¼½¾⅐-⅞↉])", _fraction_sign, text)
    for sign, command in _ROOTS:
        text = re.sub(rf"{sign}\s*\(", rf"{command}(", text)
        text = re.sub(
            rf"{sign}\s*(\d+|[A-Za-z]|\{{)",
            lambda m, c=command: f"{c.replace(chr(92) * 2, chr(92))}{m[1] if m[1] == '{' else '{' + m[1] + '}'}",
            text,
        )
    text = text.translate(_CHARACTER_TABLE)
    return unicodedata.normalize("NFKC", text)


def _fraction_sign(match: re.Match[str]) -> str:
    top, bottom = unicodedata.normalize("NFKC", match[2]).split("\N{FRACTION SLASH}")
    return rf"{match[1]}\frac{{{top}}}{{{bottom}}}"


def _unwrap(text: str) -> str:
    """Without the marks that stand around the whole of it."""
    for _ in range(8):
        inner = next((m[1].strip() for pattern in _WRAPPERS if (m := pattern.fullmatch(text))), text)
        if inner == text:
            return text
        text = inner
    return text


def _without_currency(text: str) -> str:
    text = text.replace(r"\$", "").replace("$", "").replace(r"\%", "").replace("%", "")
    text = re.sub(r"\\(?:pounds|euro|yen|textdollar|textsterling|texteuro)(?![A-Za-z])(?:\{\})?", "", text)
    text = re.sub(r"^\s*(?:\\text\s*\{\s*)?(?:USD|EUR|GBP|Rs\.?|INR)(?:\s*\})?\s*(?=[\d.])", "", text)
    return text.strip()


def _python(text: str) -> str:
    """Names of Python's modules as LaTeX has them, `**` as `^`."""
    text = _PYTHON_MODULE.sub("\0", text)
    text = re.sub("\0([a-z]+)", lambda m: f"\\{_PYTHON_NAME.get(m[1], m[1])} ", text)
    text = text.replace(r"\abs ", "abs").replace("**", "^")
    return _calls(text, "abs", "|%s|")


def _calls(text: str, name: str, form: str) -> str:
    """`name(...)` in another form, innermost brackets included."""
    start = 0
    while (found := re.compile(rf"(?<![A-Za-z\\]){re.escape(name)}\s*\(").search(text, start)) is not None:
        end = parenthesis(text, found.end())
        if end is None:
            break
        text = text[: found.start()] + form % text[found.end() : end] + text[end + 1 :]
        start = found.start() + 1
    return text


def _with_braces(text: str) -> str:
    r"""Arguments in braces: `\frac12`, `\sqrt3`, `\binom ab`."""
    start = 0
    while (found := re.compile(r"\\(frac|binom|sqrt)(?![A-Za-z])").search(text, start)) is not None:
        place, wanted = found.end(), 1 if found[1] == "sqrt" else 2
        option = re.compile(r"\s*\[[^\[\]]*\]").match(text, place) if wanted == 1 else None
        place = option.end() if option else place
        pieces = [option.group().strip() if option else ""]
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
    """Exponents in braces: `x^-1`, `2^10`, `x^(n+1)`, and indices likewise."""
    text = re.sub(r"\^\s*([+-]?\d+(?:\.\d+)?)", r"^{\1}", text)
    text = re.sub(r"_\s*(\d+|[A-Za-z](?![A-Za-z]))", r"_{\1}", text)
    text = re.sub(r"\^\s*([+-])\s*([A-Za-z])", r"^{\1\2}", text)
    start = 0
    while (found := re.compile(r"\^\s*\(").search(text, start)) is not None:
        end = parenthesis(text, found.end())
        if end is None:
            break
        text = f"{text[: found.start()]}^{{{text[found.end() : end]}}}{text[end + 1 :]}"
        start = found.start() + 1
    return text


def _repeating(text: str) -> str:
    r"""Decimals that repeat as fractions: `0.1\overline{6}`, `0.\dot{3}`, `0.(3)`, `0.333\ldots`."""
    text = re.sub(r"(\d*)\.(\d*)\\(?:overline|bar)\s*\{(\d+)\}", _as_fraction, text)
    text = re.sub(r"(\d*)\.(\d*)\\(?:overline|bar)\s*(\d)", _as_fraction, text)
    text = re.sub(r"(?<![\d.])(\d*)\.(\d*)\((\d+)\)(?![\d(])", _as_fraction, text)
    text = re.sub(
        r"(\d*)\.(\d*)\\dot\s*\{?(\d)\}?(\d*)\\dot\s*\{?(\d)\}?",
        lambda m: _fraction(m[1], m[2], m[3] + m[4] + m[5]),
        text,
    )
    text = re.sub(r"(\d*)\.(\d*)\\dot\s*\{?(\d)\}?", _as_fraction, text)
    return re.sub(r"(\d*)\.(\d*?)(\d+?)\3{2,}\s*\\ldots", _as_fraction, text)


def _as_fraction(match: re.Match[str]) -> str:
    return _fraction(match[1], match[2], match[3])


def _fraction(whole: str, fixed: str, period: str) -> str:
    """whole.fixed(period) as a fraction."""
    if len(whole) + len(fixed) + len(period) > MAX_REPEATING_DIGITS:
        return f"{whole}.{fixed}({period})"
    bottom = (10 ** len(period) - 1) * 10 ** len(fixed)
    top = int((whole or "0") + fixed + period) - int((whole or "0") + fixed)
    return rf"\frac{{{top}}}{{{bottom}}}"


def _outside_parentheses(pattern: re.Pattern[str], text: str) -> str:
    """Commas dropped where the pattern matches outside of ( ) and [ ]: in there they part the entries."""
    depth, pieces, start = 0, [], 0
    for match in re.finditer(r"[()\[\]]", text):
        if depth == 0:
            pieces.append(pattern.sub(lambda m: m[0].replace(",", ""), text[start : match.start()]))
        else:
            pieces.append(text[start : match.start()])
        depth = max(0, depth + (1 if match[0] in "([" else -1))
        pieces.append(match[0])
        start = match.end()
    rest = text[start:]
    return "".join(pieces) + (pattern.sub(lambda m: m[0].replace(",", ""), rest) if depth == 0 else rest)


MAX_REPEATING_DIGITS = 100
