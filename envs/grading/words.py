r"""Words inside answers: what is said around a value, numbers in words, answers that are words."""

from __future__ import annotations

import re
from fractions import Fraction

from word2number import w2n

from aepo_rllib.envs.grading.units import changes_meaning

_LEADING_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}\s*(:\s*)?(?=\S)")
_LEADING_WORDS = re.compile(r"((?:[A-Za-z][A-Za-z' ]*)?[A-Za-z]{2,})\s*(?::|\bis\b)\s*(?=\S)")
_NAMED_IN_WORDS = re.compile(r"\\text\s*\{([^{}]*)\}\s*([A-Za-z])\s*\\text\s*\{\s*(?:is|equals|=|is equal to)\s*\}\s*")
_VERB = re.compile(r"\b(?:is|are|was|be|equals?|equal to)\b", re.IGNORECASE)
_STATED = re.compile(
    r"(?i)((?:[A-Za-z' ]*\b)?(?:answer|value|option|choice)\b[A-Za-z' ]*?(?:\bis\b|:)?)\s*:?\s+(\S+?)\.?"
)
_CHOICES = re.compile(r"[A-J](?:\s*(?:,|and|&)\s*[A-J])+")
_OF = re.compile(r"\bof\s*$")
_ASIDES = (
    re.compile(
        r"[,;]?\s*\\text\s*\{\s*,?\s*\(?\s*(?:for|where|if)\s+(?:any|all|every|some|each|an?|the)?\b[^{}]*\}.*$"
    ),
    re.compile(r"[,;]?\s*\\text\s*\{\s*,?\s*\(?\s*where\b[^{}]*\}.*$"),
    re.compile(
        r"(?:[,;]|\(|\\quad|\\forall|\\text\s*\{[^{}]*\})\s*\(?\s*[A-Za-z](?:\s*,\s*[A-Za-z])*\s*"
        r"\\in\s*\\mathbb\s*\{?[ZNRQC]\}?(?:\^[+*])?\s*\)?$"
    ),
    re.compile(r"\s*\(\s*\\text\s*\{[^{}]*\}\s*\)$"),
)
_FOR_ALL = re.compile(r"\b(?:any|all|every|some|each|where|arbitrary|constant)\b")
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SCALED = re.compile(
    r"(.*\d[\s}]*?)\s*(?:\\text\s*\{\s*)?(hundred|thousand|million|billion|trillion)s?(?![a-z])\s*([^{}]*?)(?:\s*\})?"
)
_PARTS = {"halves": 2, "half": 2, "third": 3, "fourth": 4, "quarter": 4, "fifth": 5, "sixth": 6, "seventh": 7}
_PARTS |= {"eighth": 8, "ninth": 9, "tenth": 10, "hundredth": 100}
_NUMBER_WORDS = frozenset((*w2n.american_number_system, "and", "a")) - {"point"}
_SYNONYMS = {
    "∅": "nosolution nosolutions norealsolution norealsolutions thereisnosolution therearenosolutions emptyset "
    "theemptyset nosolutionexists",
    "ℝ+": "allpositiverealnumbers allpositivereals positiverealnumbers",
    "ℝ": "allrealnumbers allreals allrealx allrealnumber",
}
_SIGNS = {words: sign for sign, names in _SYNONYMS.items() for words in names.split()}
_DECORATION = re.compile(r"\\text|\\mathrm|\\l(?:or|and)(?![a-z])|[\s{}().,;:!?'\"*_$\\-]")
_ARTICLE = re.compile(r"^\W*(?:an?|the)\s+(?=[A-Za-z]{2})", re.IGNORECASE)


def without_asides(text: str) -> str:
    r"""`text` without what is said behind it: `\text{ for any } c`, `\text{ where } c ...`, `k \in \mathbb{Z}`."""
    for pattern in _ASIDES:
        found = pattern.search(text)
        if found and found.start() > 0 and (r"\text" not in found[0] or _FOR_ALL.search(found[0])):
            return text[: found.start()].strip()
    return text


def without_introduction(text: str) -> str:
    r"""`text` without what leads up to it: `\text{Answer: }`, `The answer is`, `\text{John has }`."""
    if (named := _NAMED_IN_WORDS.match(text)) and not changes_meaning(named[1]):
        return f"{named[2]} = {text[named.end() :]}"
    match = _LEADING_TEXT.match(text) or _LEADING_WORDS.match(text)
    if match is None or text[match.end()] in "=<>^_" or text.startswith(r"\approx", match.end()):
        return text
    if text[match.end()] == "(" and not match[1].endswith(" "):
        return text  # the name of a function
    said = _VERB.sub(" ", match[1])
    if (
        re.fullmatch(r"\W*[A-J]\W*", said)
        or changes_meaning(said)
        or re.search(r"\d", said)
        or (_OF.search(said) and not re.search(r"\bvalue of\s*$", said))
    ):
        return text
    rest = text[match.end() :].strip()
    return rest if re.search(r"\d|\\|^[A-Za-z]\b", rest) else text


def unquoted(text: str) -> str:
    r"""What stands in a `\text{...}` around the whole of an answer that is no word: `\text{36 degrees}`."""
    match = re.fullmatch(r"\\text\s*\{([^{}]*)\}", text)
    if match is None:
        return text
    if (stated := _STATED.fullmatch(match[1].strip())) and not changes_meaning(_VERB.sub(" ", stated[1])):
        return rf"\text{{{stated[2]}}}" if stated[2].isalpha() else stated[2]
    if re.search(r"\d", match[1]) or _CHOICES.fullmatch(match[1].strip()):
        return re.sub(r"\band\b", r"\\land ", re.sub(r"\bor\b", r"\\lor ", match[1].strip()))
    return text


def scaled(text: str) -> tuple[str, int, str] | None:
    r"""`1.5 \text{ million dollars}` as ("1.5", 6, "dollars"), with the power of ten; None for other text."""
    match = _SCALED.fullmatch(text)
    if match is None or re.search(r"[A-Za-z]", match[1].replace(r"\frac", "")) or changes_meaning(match[3]):
        return None
    return match[1].strip(), _SCALES[match[2]], match[3]


def number_in_words(text: str) -> Fraction | None:
    """The value of `twenty-one` or `three fourths`; None for other text."""
    words = re.sub(r"\\text|\\land|[{}-]", " ", text).lower().split()
    if not words or len(words) > 20:
        return None
    part = _PARTS.get(words[-1]) or _PARTS.get(words[-1].removesuffix("s")) if len(words) > 1 else None
    whole = words[:-1] if part else words
    if not _NUMBER_WORDS.issuperset(whole) or {"and", "a"}.issuperset(whole):
        return None
    try:
        value: int = w2n.word_to_num(" ".join(whole))
    except (ValueError, IndexError):
        return None
    return Fraction(value, part or 1)


def plain_words(text: str) -> str:
    """Words as they are compared: without case, blanks, punctuation; the usual names of a set by its sign."""
    bare = _DECORATION.sub("", _ARTICLE.sub("", text.replace(r"\text{", "").strip())).casefold()
    return _SIGNS.get(bare, bare)
