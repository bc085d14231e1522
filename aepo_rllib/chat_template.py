"""Chat templates, rendered in a process of their own: `python -m aepo_rllib.chat_template` reads JSON and writes JSON.

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


def render_chat(template: str, turns: Sequence[Mapping[str, str]], special_tokens: Mapping[str, str]) -> str:
    """A chat as the model is to read it, up to where its answer begins.

    Args:
        template: A jinja template, as a tokenizer holds it.
        turns: {"role": ..., "content": ...} each.
        special_tokens: By name ("bos_token"), as the template may ask for them.

    Raises:
        ValueError: the template fails, or takes more than 20 seconds, 2 GiB or a million characters.
    """
    return _render(json.dumps({"template": template, "turns": list(turns), "special_tokens": dict(special_tokens)}))


@lru_cache(maxsize=64)
def _render(request: str) -> str:
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
        answer: dict[str, str] = json.loads(done.stdout)
    except ValueError as error:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ValueError(f"the chat template cannot be rendered ({reason})") from error
    if "error" in answer:
        raise ValueError(f"the chat template cannot be rendered ({answer['error']})")
    return answer["text"]


def _answer(request: Mapping[str, Any]) -> dict[str, str]:
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        (text,), _ = render_jinja_template(
            conversations=[request["turns"]],
            chat_template=request["template"],
            add_generation_prompt=True,
            **request["special_tokens"],
        )
    except Exception as error:  # a template may raise what it likes
        return {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    return {"text": text} if len(text) <= MAX_CHARS else {"error": f"it gives {len(text)} characters"}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (int(LIMIT_S) + 1,) * 2)  # whatever becomes of the parent
    print(json.dumps(_answer(asked)))
