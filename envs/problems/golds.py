r"""The final answer in what a set calls its answer: `#### 7`, `\boxed{7}`, `<answer>7</answer>`, "The answer is 7.".

Read in this order: what the last `<answer>` holds; the last of `####` and `\boxed`; the last sentence that states an
answer. An answer without any of these is one itself.
"""

from __future__ import annotations

import json
import re

HASHES = "####"
BOX = "\\boxed"
MAX_WORDS = 60
"""An answer of more words is no answer; the longest of the published benchmarks has 55."""
MAX_SOLUTION_WORDS = 8
"""The same for a column that holds solutions, where a few words are an answer and a sentence is not."""
_END_CHARS = 10_000
"""Where a solution states its answer in words."""
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_ESCAPE_OR_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_MATHS_ENDS = re.compile(r"\$|\\\)|\\\]|\n")
_ONE_OF_A_LIST = re.compile(r"""\[\s*(['"])(?P<text>(?:(?!\1)[^\\\n]|\\.)*)\1\s*\]""")
MAX_SENTENCES_INSIDE = 3
"""`Final answer: The final answer is 7.` has two."""
_SENTENCE_ENDS = re.compile(r"(?<=[.!?])\s|\n")
_STATED = re.compile(
    r"\W{0,6}(?:(?:so|thus|hence|therefore|then|finally)\b,? ){0,2}(?:the )?(?:final |correct )?"
    r"ans(?:wer)?s?\b(?: to (?:the|this) (?:problem|question))?[*_]{0,2} ?(?:(?:is|are)\b ?:?|:)[*_]{0,2} ?"
    r"(?P<answer>\S.*)",
    re.IGNORECASE,
)
_LATEX = re.compile(r"\\(?:text\w*|mathrm|mbox|operatorname|begin|end)\s*\{[^{}]*\}|\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]{3,}")


def read_gold(text: str) -> str:
    r"""The final answer in `text`, with the blanks around it.

    Commas stay as they are written: `#### 1,2` may be two numbers. Takes time linear in the length of the text.
    """
    if "<answer>" in text:
        text = text.rpartition("<answer>")[2].partition("</answer>")[0]
    text = _only_one(text)
    boxes = list(_BOX.finditer(text))
    hashes = text.rfind(HASHES)
    if boxes and boxes[-1].start() > hashes:
        content = _boxed(text, boxes[-1].end())
        return text if content is None else content
    if hashes >= 0:
        text = text[hashes + len(HASHES) :].strip(" \t\r\n").partition("\n")[0]
    for _ in range(MAX_SENTENCES_INSIDE):
        text = _stated(text)
    return text


def words_in(text: str) -> int:
    """How many words a text has, those of LaTeX left out: what tells a solution from an answer."""
    return len(_WORD.findall(_LATEX.sub(" ", text)))


def _only_one(text: str) -> str:
    """The text in a written list of one, such as `["7"]`; any other text as it is."""
    if one := _ONE_OF_A_LIST.fullmatch(text.strip()):
        inner = one["text"] if one[1] == '"' else one["text"].replace("\\'", "'").replace('"', '\\"')
        try:
            return str(json.loads(f'"{inner}"'))
        except ValueError:  # escapes that are not those of JSON
            return text
    return text


def _boxed(text: str, start: int) -> str | None:
    r"""What a box holds whose content begins at `start`; None if it does not end.

    `\boxed 7` boxes a single token in LaTeX. In a formula of its own it is what the writer meant to box whole.
    """
    if not text.startswith("{", start):
        end = _MATHS_ENDS.search(text, start)
        in_formula = end is not None and end.group() != "\n"
        content = text[start : end.start() if end else len(text)]
        return content if in_formula else _without_stop(content.partition(" ")[0])
    depth = 0
    for match in _ESCAPE_OR_BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return text[start + 1 : match.start()]
    return None


def _stated(text: str) -> str:
    """What the last sentence that states an answer says; the whole text if there is none."""
    if "ans" not in text.lower():  # as with nearly every answer
        return text
    for sentence in reversed(_SENTENCE_ENDS.split(_with_its_answer(text[-_END_CHARS:]))):
        if stated := _STATED.fullmatch(sentence):
            return _without_stop(stated["answer"])
    return text


def _with_its_answer(text: str) -> str:
    """The text with single blanks, and an answer that stands in lines of its own joined to the words before it."""
    text = re.sub(r"\s+", lambda blanks: "\n" if "\n" in blanks.group() else " ", text.strip())
    return re.sub(r"\n(?=\$\$|\\\])", " ", re.sub(r"(:(?:\*\*)?|\bis|\bare|\$\$|\\\[)\n", r"\1 ", text))


def _without_stop(text: str) -> str:
    return text.strip().removesuffix("**").rstrip(". ")
