"""Chat templates, rendered in a process of their own: `python -m aepo_rllib.models.chat_template` reads, writes JSON.

A template is a program that came with the model. transformers runs it in jinja2's sandbox, which keeps it from the
machine but lets it take any time and memory.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

LIMIT_S = 20.0
MEMORY_BYTES = 2 * 2**30
MAX_CHARS = 1_000_000

Chat = Sequence[tuple[str, str]]
"""(role, content) of every turn."""


def render_chats(template: str, chats: Sequence[Chat], special_tokens: Mapping[str, str]) -> list[str]:
    """Chats as the model is to read them, each up to where its answer begins.

    Args:
        template: A jinja template, as a tokenizer holds it.
        chats: What to render; all in one process, which takes half a second to start.
        special_tokens: By name ("bos_token"), as the template may ask for them.

    Raises:
        ValueError: the template fails, or takes more than 20 seconds, 2 GiB or a million characters for a chat.
    """
    turns = [[{"role": role, "content": content} for role, content in chat] for chat in chats]
    return list(_render(json.dumps({"template": template, "chats": turns, "special_tokens": dict(special_tokens)})))


@lru_cache(maxsize=64)
def _render(request: str) -> tuple[str, ...]:
    answer = _ask(request)
    if "error" in answer:
        raise ValueError(f"the chat template cannot be rendered ({answer['error']})")
    return tuple(answer["texts"])


def _ask(request: str) -> dict[str, Any]:
    """What a process of its own answers."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=request,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"the chat template does not come to an end within {LIMIT_S:g} s") from error
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ValueError(f"the chat template cannot be rendered ({reason})") from error


def _answer(request: Mapping[str, Any]) -> dict[str, Any]:
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        texts, _ = render_jinja_template(
            conversations=request["chats"],
            chat_template=request["template"],
            add_generation_prompt=True,
            **request["special_tokens"],
        )
    except Exception as error:  # a template may raise what it likes
        return {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    longest = max(map(len, texts))
    return {"texts": texts} if longest <= MAX_CHARS else {"error": f"it gives {longest} characters"}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (int(LIMIT_S) + 1,) * 2)  # whatever becomes of the parent
    print(json.dumps(_answer(asked)))
