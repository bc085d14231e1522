"""What stands around a text in a prompt, and which of it is the model's own.

A chat template is asked what it does with marks in place of everything foreign, and then with the foreign turns
themselves: what differs in more than the marks is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import methodcaller
from typing import NamedTuple

from aepo_rllib.models.chat_template import Chat

_SIGN = "\N{OBJECT REPLACEMENT CHARACTER}"
_FILLING = "Text <goes> & 'stays' \"here\" {as it is}"
"""Whatever a template does to texts (other case, other quotes, HTML) changes it."""

_TRIMS: tuple[Callable[[str], str], ...] = (
    str,
    str.strip,
    str.lstrip,
    str.rstrip,
    *(methodcaller(name, "\n") for name in ("strip", "lstrip", "rstrip")),
)
"""What a template may do to a text: nothing, or one of these."""

_PROBES = (
    f"\n {_FILLING} \n",
    f" \n{_FILLING}\n ",
    "\n\n".join(
        [
            "# Title\n* item `code` | a b |   three blanks\n    indented\ttab",
            "https://example.org/a?b=c&d=1 and <b>bold</b> &amp; $\\frac{1}{2}$ \\boxed{x}",
            "u\N{COMBINING DIAERESIS} \N{FULLWIDTH DIGIT ONE} “quotes” ‘these’ 1,000.50",
            "word " * 1500 + "end",
        ]
    ),
)
"""Texts with blanks around them, and one with whatever filters look for: lines, markup, length, other alphabets."""


class Span(NamedTuple):
    """A part of a prompt.

    Attributes:
        text: Its characters.
        own: Whether it is the frame's: only there special tokens are special.
    """

    text: str
    own: bool


@dataclass(frozen=True)
class Frame:
    """What stands before and after a text, and what becomes of blanks at the text's ends."""

    head: tuple[Span, ...] = ()
    tail: tuple[Span, ...] = ()
    trim: Callable[[str], str] = str

    def around(self, text: str) -> list[Span]:
        """The whole prompt; its spans joined are one text."""
        return [*self.head, Span(self.trim(text), own=False), *self.tail]


def chatml_frame(turns: Chat) -> Frame:
    """Literal ChatML: `turns`, then the user's text."""
    head: list[Span] = []
    for role, content in turns:
        head += [Span(f"<|im_start|>{role}\n", own=True), Span(content, own=False), Span("<|im_end|>\n", own=True)]
    return Frame(
        (*head, Span("<|im_start|>user\n", own=True)),
        (Span("<|im_end|>\n<|im_start|>assistant\n", own=True),),
    )


def model_frames(render: Callable[[Sequence[Chat]], list[str]], many: Sequence[Chat]) -> list[Frame]:
    """The frame that a chat template gives a user's text after each of these lists of turns.

    Args:
        render: Renders chats by the template.
        many: Lists of (role, content); rendered together, as every call of `render` starts a process.

    Raises:
        ValueError: the template fails, or does not give every turn and the text back once and as it is.
    """
    chats: list[Chat] = []
    for turns in many:
        marked = [(role, _mark(place)) for place, (role, _) in enumerate(turns)]
        chats.append([*marked, ("user", _mark(len(turns)))])
        chats += [[*turns, ("user", text)] for text in (_FILLING, *_PROBES)]
    rendered = iter(render(chats))
    return [_frame(turns, next(rendered), [next(rendered) for _ in (_FILLING, *_PROBES)]) for turns in many]


def _frame(turns: Chat, marked: str, real: list[str]) -> Frame:
    """A frame from the chat with marks, and from the same with its real turns and the probes as user's text."""
    names = [*(f"the {role} turn" for role, _ in turns), "a text"]
    for place, name in enumerate(names):
        if (count := marked.count(_mark(place))) != 1:
            raise ValueError(f"it gives {name} back {count} times, or changed, instead of once as it is")
    parts = re.split(f"{_SIGN}(\\d+){_SIGN}.*?{_SIGN}", marked)
    literals, places = parts[::2], [int(place) for place in parts[1::2]]
    options = [_spellings(content) for _, content in turns]
    trims = list(_TRIMS)
    for text, result in zip((_FILLING, *_PROBES), real, strict=True):
        options[len(turns) :] = [[trim(text) for trim in trims]]
        found = _contents(result, literals, [options[place] for place in places])
        if found is None:
            changed = "a text" if text != _FILLING else " or ".join(names[:-1]) or "a text"
            raise ValueError(f"it changes {changed}, or what stands around it, by what it says")
        contents = dict(zip(places, found, strict=True))
        trims = [trim for trim in trims if trim(text) == contents[len(turns)]]
    spans = [Span(literals[0], own=True)]
    for place, literal in zip(places, literals[1:], strict=True):
        spans += [Span(contents[place], own=False), Span(literal, own=True)]
    split = 2 * places.index(len(turns)) + 1
    return Frame(tuple(spans[:split]), tuple(spans[split + 1 :]), trims[0])


def _contents(result: str, literals: Sequence[str], options: Sequence[Sequence[str]]) -> list[str] | None:
    """Which option stands between every two literals; None where `result` cannot be read so."""
    if not result.startswith(literals[0]):
        return None
    rest = result[len(literals[0]) :]
    if not options:
        return None if rest else []
    for option in dict.fromkeys(options[0]):
        following = _contents(rest[len(option) :], literals[1:], options[1:]) if rest.startswith(option) else None
        if following is not None:
            return [option, *following]
    return None


def _mark(place: int) -> str:
    """Stands for what is foreign at this place of a chat."""
    return f"{_SIGN}{place}{_SIGN}{_FILLING}{_SIGN}"


def _spellings(content: str) -> list[str]:
    """How a turn may be given back: as it is, trimmed, or without the reasoning that opens an earlier answer."""
    return [trim(kept) for kept in (content, content.split("</think>")[-1]) for trim in _TRIMS]
