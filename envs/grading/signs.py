r"""Signs, names and commands that mean the same: the tables of `aepo_rllib.envs.grading.notation`."""

from __future__ import annotations

import re

_GREEK_SIGNS = {
    **{"pi": "π", "theta": "θ", "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "lambda": "λ", "mu": "μ"},
    **{"sigma": "σ", "phi": "φϕ", "omega": "ω", "rho": "ρ", "epsilon": "ε", "Delta": "Δ"},
}
_CHARACTERS = {
    "-": "−–—‐‑‒﹣－",
    "": "\u200b\u200c\u200d\u2060\ufeff",
    "'": "′’",
    "''": "″",
    "/": "÷∕⁄",
    ":": "∶",
    ",": "،",
    r"\times ": "×",
    r"\cdot ": "·⋅",
    r"\le ": "≤⩽",
    r"\ge ": "≥⩾",
    r"\ne ": "≠",
    r"\approx ": "≈",
    r"\equiv ": "≡",
    r"\pm ": "±",
    r"\mp ": "∓",
    r"\cup ": "∪",
    r"\cap ": "∩",
    r"\in ": "∈",
    r"\setminus ": "∖",
    r"\emptyset ": "∅Ø",
    r"\infty ": "∞",
    r"\mathbb{R}": "ℝ",
    r"\mathbb{Z}": "ℤ",
    r"\mathbb{N}": "ℕ",
    r"\mathbb{Q}": "ℚ",
    r"\mathbb{C}": "ℂ",
    r"\lor ": "∨",
    r"\land ": "∧",
    r"\langle ": "⟨〈",
    r"\rangle ": "⟩〉",
    r"\angle ": "∠",
    r"\triangle ": "△",
    r"^\circ ": "°º˚",
    r"^\circ C": "℃",
    r"^\circ F": "℉",
    r"\ldots ": "…",
    r"\text{ angstrom}": "Å\u212b",
    r"\text{ ohm}": "Ω\u2126",
    r"\text{ euro}": "€",
    r"\text{ gbp}": "£",
    r"\text{ yen}": "¥元",
    r"\text{ inr}": "₹",
    **{rf"\{name} ": sign for name, sign in _GREEK_SIGNS.items()},
}
CHARACTERS = {ord(sign): text for text, signs in _CHARACTERS.items() for sign in signs}

FUNCTIONS = (
    "sqrt|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|ln|log|exp|gcd|lcm|max|min|cis"
    "|pi|theta|alpha|beta|lambda|infty"
)
TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc|cis)(?![A-Za-z])")
GREEK = (
    "alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|vartheta|iota|kappa|lambda|mu|nu|xi|rho|sigma|tau"
    "|upsilon|phi|varphi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Sigma|Phi|Psi|Omega|ell"
)


def _commands(names: str) -> str:
    return rf"\\(?:{'|'.join(names.split())})(?![A-Za-z])"


SYNONYMS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\text\s*\{\s*\^\\circ\s*([CFK]?)\s*\}", r"^\\circ \1"),
        (_commands("dfrac tfrac cfrac nicefrac sfrac"), r"\\frac"),
        (_commands("leqslant leq") + r"|<=|=<", r"\\le "),
        (_commands("geqslant geq") + r"|>=", r"\\ge "),
        (_commands("lt"), "<"),
        (_commands("gt"), ">"),
        (_commands("neq") + r"|\\not\s*=|!=", r"\\ne "),
        (_commands("approxeq simeq thickapprox doteq sim") + "|~=", r"\\approx "),
        (_commands("varnothing O") + r"|\\\{\s*\\\}", r"\\emptyset "),
        (_commands("lbrace"), r"\\{"),
        (_commands("rbrace"), r"\\}"),
        (_commands("lbrack"), "["),
        (_commands("rbrack"), "]"),
        (_commands("lparen lgroup"), "("),
        (_commands("rparen rgroup"), ")"),
        (_commands("vert lvert rvert"), "|"),
        (_commands("ast cdotp bullet"), r"\\cdot "),
        (_commands("div"), "/"),
        (_commands("dots cdots dotsc dotsb dotso") + r"|(?<=\d)\.\.\.+", r"\\ldots "),
        (_commands("imath"), "i"),
        (_commands("colon ratio"), ":"),
        (_commands("bigcup"), r"\\cup "),
        (_commands("backslash smallsetminus"), r"\\setminus "),
        (_commands("R reals Reals"), r"\\mathbb{R}"),
        (_commands("degree textdegree") + r"|\^\s*(?:\{\s*\\circ\s*\}|\\circ|o(?![A-Za-z])|\{o\})", r"^\\circ "),
        (_commands("lor vee") + r"|\\text\s*\{\s*,?\s*(?:or|and/or)\s*,?\s*\}", r"\\lor "),
        (_commands("land wedge") + r"|\\text\s*\{\s*,?\s*(?:and|&)\s*,?\s*\}|\\&", r"\\land "),
        (r"\\text\s*\{\s*in\s*\}(?=\s*(?:\\mathbb|\\\{|\[|\())", r"\\in "),
        (r"\+\s*\\infty", r"\\infty"),
        (r"(?<=\d)\s*\^?\s*\{?\s*\\text\s*\{\s*(?:st|nd|rd|th)\s*\}\s*\}?", ""),
        (_commands("checkmark blacksquare square qed hfill"), ""),
    )
)
"""Applied everywhere, in this order."""
WORDS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<![A-Za-z\\])or(?![A-Za-z])", r"\\lor "),
        (r"(?<![A-Za-z\\])and(?![A-Za-z])|&(?![^{]*\\end)", r"\\land "),
        (r"(?<![A-Za-z\\])(?:infinity|inf|oo)(?![A-Za-z])", r"\\infty "),
        (r"(?<=\d)\s*(?:st|nd|rd|th)(?![A-Za-z])", ""),
        (r"\+/-", r"\\pm "),
        (rf"(?<![\\A-Za-z])({FUNCTIONS})(?![A-Za-z])", r"\\\1 "),
        (r"(?<![\\A-Za-z])Pi(?![A-Za-z])", r"\\pi "),
    )
)
r"""Applied outside of `\text{...}`."""
SILENT = re.compile(
    _commands(
        "displaystyle textstyle scriptstyle tiny small normalsize large Large LARGE huge Huge bf it rm limits nolimits "
        "quad qquad enspace thinspace strut"
    )
    + r"|\\[hv]space\*?\s*\{[^{}]*\}|\\phantom\s*\{[^{}]*\}|(?<!\\)\\[ ,;:!>]|~|(?<!\\)\\(?=\s)|\{\}"
)
BIGGER = re.compile(r"\\(?:left|right|middle|bigg?[lrm]?|Bigg?[lrm]?)(?![A-Za-z])\s*\.?")
_STYLES = (
    "mathbf boldsymbol bm underline underbar mathsf mathtt mathit mathnormal mathcal ensuremath boxed fbox overbrace "
    "underbrace tag"
)
_GROUP = r"\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"
STYLED = re.compile(rf"(?:{_commands(_STYLES)}|\\(?:color|textcolor|colorbox)\s*\{{[^{{}}]*\}}){_GROUP}")
COLOR = re.compile(r"\\color\s*(?:\{[^{}]*\}|[a-z]+(?![a-z]))")
TEXT = re.compile(
    _commands("textbf textit textrm textsf texttt textup textnormal mbox hbox mathrm operatorname emph") + r"\*?\s*\{"
)
WRAPPERS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"\$\$(.*)\$\$",
        r"\$([^$]*)\$",
        r"\\\((.*)\\\)",
        r"\\\[(.*)\\\]",
        r"\*+([^*]+)\*+",
        r"__([^_]+)__",
        r"`+([^`]+)`+",
        r'"([^"]+)"',
        r"\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}",
        r"\\begin\{(?:aligned|array|gathered)\}(?:\{[lcr]\})?([^&\\]*)\\end\{(?:aligned|array|gathered)\}",
    )
)
"""What may stand around the whole of an answer."""
