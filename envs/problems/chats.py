"""A problem that is the last user turn of a chat."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from aepo_rllib.envs.problems.columns import Row, shown
from aepo_rllib.envs.problems.frames import is_instruction

ROLES = ("system", "user", "assistant")
_WRITTEN_CHAT = re.compile(r"\s*\[\s*\{\s*(['\"])(?:role|content)\1\s*:")

Turns = tuple[tuple[str, str], ...]


def is_chat(value: Any) -> bool:
    """Whether a column holds turns instead of a text."""
    return isinstance(value, list) and bool(value) and all(isinstance(turn, Mapping) for turn in value)


def is_written_chat(text: str) -> bool:
    """Whether a text is a chat in brackets and quotation marks, as tables without types have it."""
    return _WRITTEN_CHAT.match(text) is not None


def read_chat(chat: Sequence[Mapping[str, Any]], row: Row) -> tuple[Turns, str]:
    """What a chat says before its last user turn, and that turn's text.

    A system turn that is only an instruction of a public set (see `frames`) is left out, as it is around a problem.

    Raises:
        ProblemError: a turn without one of the `ROLES` or without text, a system turn that is not the first, or a last
            turn that is not the user's.
    """
    turns = tuple(_turn(turn, number, row) for number, turn in enumerate(chat, 1))
    if any(role == "system" for role, _ in turns[1:]):
        raise row.refusal("a system turn stands behind another turn of the chat; it has to be the first")
    if turns[-1][0] != "user":
        raise row.refusal(
            f"the last turn of the chat is the {turns[-1][0]}'s, so there is nothing to answer; leave it out, or name "
            "another column with --fields '{problem: COLUMN}' (env_config.fields)"
        )
    before = tuple((role, text) for role, text in turns[:-1] if role != "system" or not is_instruction(text))
    return before, turns[-1][1]


def _turn(turn: Mapping[str, Any], number: int, row: Row) -> tuple[str, str]:
    role, content = turn.get("role"), turn.get("content")
    if role not in ROLES:
        raise row.refusal(f"turn {number} of the chat has the role {shown(role)}; known: {', '.join(ROLES)}")
    if isinstance(content, list):
        content = _joined(content, number, row)
    if not isinstance(content, str):
        raise row.refusal(f"turn {number} of the chat has no text but {shown(content)}")
    return str(role), row.whole(str(content), "chat")


def _joined(parts: Sequence[Any], number: int, row: Row) -> str:
    """The text of a turn that comes in parts, as chat templates join them."""
    texts = []
    for part in parts:
        kind = part.get("type") if isinstance(part, Mapping) else None
        text = part.get("text") if isinstance(part, Mapping) else None
        if kind not in ("text", None) or not isinstance(text, str):
            raise row.refusal(f"turn {number} of the chat has a part that is no text ({shown(kind)})")
        texts.append(text)
    return "".join(texts)
