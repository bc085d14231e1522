r"""Words inside answers: what is said around a value, numbers in words, answers that are words."""

from __future__ import annotations

import re
from fractions import Fraction

from word2number import w2n  # type: ignore[import-untyped]

from aepo_rllib.envs.grading.units import changes_meaning

_INTRODUCED = re.compile(
    r"^\s*\\text\s*\{([^{}]*)\}\s*(:|(?=(?:=|\\approx)))?\s*(?=\S)|^\s*((?:[A-Za-z][A-Za-z' ]*)?[A-Za-z]{2,})\s*(:|\bis\b)\s*(?=\S)"
)
_ENDS_AS_INTRODUCTION = re.compile(
    r"(?:[:=]|\b(?:is|are|be|equals|equal to|answer|approximately|about|around|roughly|option|choice|thus|so|hence|"
    r"therefore|total|exactly|only|value|solution))\s*$",
    re.IGNORECASE,
)
_ASIDE = (
    re.compile(r"[,;]?\s*\\text\s*\{\s*,?\s*\(?\s*(?:for|where|if) (?:any|all|every|some|each|an? |the )?[^{}]*\}.*$"),
    re.compile(r"[,;]?\s*\\text\s*\{\s*,?\s*\(?\s*where\b[^{}]*\}.*$"),
    re.compile(
        r"(?:[,;]|\(|\\quad|\\forall|\\text\s*\{[^{}]*\})\s*\(?\s*[A-Za-z](?:\s*,\s*[A-Za-z])*\s*\\in\s*\\mathbb\s*\{?[ZNRQC]\}?(?:\^[+*])?\s*\)?$"
    ),
    re.compile(r"\s*\(\s*\\text\s*\{[^{}]*\}\s*\)$"),
)
_FOR_ALL = re.compile(r"\b(?:any|all|every|some|each|where|arbitrary|constant)\b")
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SCALED = re.compile(
    r"(.*\d[\s}]*?)\s*(?:\\text\s*\{\s*)?(hundred|thousand|million|billion|trillion)s?(?:\s*\})?\s*(.*)$"
)
_NUMBER_WORDS = frozenset((*w2n.american_number_system, "and", "a")) - {"point"}
_SYNONYMS = {
    "nosolution": "∅",
    "nosolutions": "∅",
    "norealsolution": "∅",
    "norealsolutions": "∅",
    "emptyset": "∅",
    "theemptyset": "∅",
    "allrealnumbers": "ℝ",
    "allreals": "ℝ",
    "allrealx": "ℝ",
    "t": "t",
}
_DECORATION = re.compile(r"\\text|\\mathrm|[\s{}().,;:!?'\"*_$\\-]")


def without_asides(text: str) -> str:
    r"""`text` without what is said behind it: `\text{ for any } c`, `\text{ where } c \text{ is constant}`, `k \in \mathbb{Z}`."""
    for pattern in _ASIDE:
        found = pattern.search(text)
        if found and found.start() > 0 and (r"\text" not in found[0] or _FOR_ALL.search(found[0])):
            return text[: found.start()].strip()
    return text


def without_introduction(text: str) -> str:
    r"""`text` without what leads up to it: `\text{Answer: }`, `The answer is`, `\text{Area} =`."""
    match = _INTRODUCED.match(text)
    if match is None:
        return text
    words = match[1] if match[1] is not None else match[3]
    announced = match[2] is not None or match[4] is not None or _ENDS_AS_INTRODUCTION.search(words)
    if not announced or changes_meaning(_ENDS_AS_INTRODUCTION.sub("", words)):
        return text
    return re.sub(r"^(?:=|:|\\approx)\s*", "", text[match.end() :].strip())


def scaled(text: str) -> tuple[str, int] | None:
    r"""`1.5 \text{ million}` as ("1.5", 6), the power of ten; None for other text."""
    match = _SCALED.fullmatch(text)
    if match is None or re.search(r"[A-Za-z]", match[1].replace(r"\frac", "")) or match[3].strip(" {}"):
        return None
    return match[1].strip(), _SCALES[match[2]]


def number_in_words(text: str) -> int | None:
    """The value of `twenty-one`; None for other text."""
    words = re.sub(r"\\text|[{}-]", " ", text).lower().split()
    if not words or len(words) > 20 or not _NUMBER_WORDS.issuperset(words) or {"and", "a"}.issuperset(words):
        return None
    try:
        value: int = w2n.word_to_num(" ".join(words))
    except (ValueError, IndexError):
        return None
    return value


def plain_words(text: str) -> str:
    """Words as they are compared: without case, blanks, punctuation; the usual names of a set by its sign."""
    bare = _DECORATION.sub("", text).casefold()
    return _SYNONYMS.get(bare, bare)


__all__ = ["Fraction", "number_in_words", "plain_words", "scaled", "without_asides", "without_introduction"]
