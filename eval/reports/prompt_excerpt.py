"""A prompt in few characters: its beginning, and its end, where the model's turn begins."""

from __future__ import annotations

from aepo_rllib.support.terminal import visible

HEAD_CHARS, TAIL_CHARS = 400, 300


def prompt_excerpt(prompt: str, whole: str) -> str:
    """A prompt as Python writes it, so that blanks and line ends show; of a long one beginning and end.

    Args:
        prompt: What the model reads.
        whole: Where all of it stands.
    """
    if len(prompt) <= HEAD_CHARS + TAIL_CHARS:
        return visible(repr(prompt))
    left_out = len(prompt) - HEAD_CHARS - TAIL_CHARS
    head, tail = (visible(repr(part)) for part in (prompt[:HEAD_CHARS], prompt[-TAIL_CHARS:]))
    return f"{head}\n  ... {left_out:,} characters left out, all of it stands in {whole} ...\n  {tail}"
