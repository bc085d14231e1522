"""From prompt text to token ids: a prompt is encoded as a whole, exactly as transformers does it.

The frame's special tokens stay special, and foreign texts (problems, and the turns before them) never become so.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile

import numpy as np
from transformers import PreTrainedTokenizerBase

from aepo_rllib.envs.prompts import PromptTemplate
from aepo_rllib.models.chat_frame import Frame, Span, chatml_frame, model_frames
from aepo_rllib.models.chat_template import Chat, render_chats
from aepo_rllib.models.control_tokens import STAND_IN, ControlTokens

CHATS_PER_PROCESS = 500

Turns = tuple[tuple[str, str], ...]
"""A `Chat` as a key."""


class PromptEncoder:
    """Puts a template's frame around texts and tokenizes them.

    Args:
        tokenizer: Of the model that reads the prompt.
        template: Its `frame` decides what stands around the text.

    Raises:
        ValueError: the frame needs a chat template or ChatML tokens that the tokenizer does not have, or a chat
            template that fails, does not end, or does not give a text back once and as it is.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: PromptTemplate) -> None:
        self.tokenizer, self.template = tokenizer, template
        self._automatic_head = _automatic_head(tokenizer, template)
        self._frames: dict[Turns, Frame] = {}
        self._control_tokens = lru_cache(maxsize=64)(self._control_tokens_of)
        self._encode = lru_cache(maxsize=4096)(self._ids)
        self._check_frame()
        self.check_turns(())

    def encode(self, text: str, turns: Chat = ()) -> list[int]:
        """Token ids of the framed text.

        Args:
            text: The user's.
            turns: (role, content) of what the chat says before it.

        Raises:
            ValueError: as `check_turns`, or a text whose special tokens the tokenizer cannot read as text.
        """
        return list(self._encode(text, _turns(turns)))

    def check_turns(self, *chats: Chat) -> None:
        """Refuse turns that the frame has no place for. The next `encode` with them is cheap.

        Args:
            chats: Lists of (role, content). A model's chat template is run in a process of its own, which takes half
                a second, so give all lists at once.

        Raises:
            ValueError: a frame without turns, two system turns, or turns that the chat template does not give back.
        """
        new = [turns for turns in dict.fromkeys(map(_turns, chats)) if turns not in self._frames]
        for turns in new:
            self._check_roles(turns)
        for start in range(0, len(new), CHATS_PER_PROCESS):
            some = new[start : start + CHATS_PER_PROCESS]
            self._frames.update(zip(some, self._frames_of(some), strict=True))

    def decode(self, token_ids: Sequence[int] | np.ndarray) -> str:
        """A completion as text, special tokens left out."""
        return self.tokenizer.decode(token_ids, skip_special_tokens=True)

    def _ids(self, text: str, turns: Turns) -> tuple[int, ...]:
        self.check_turns(turns)
        spans = self._frames[turns].around(text)
        own = tuple(span if span.own else Span(STAND_IN, own=False) for span in spans)
        return (*self._automatic_head, *self._control_tokens(own).encode(spans))

    def _control_tokens_of(self, frame: Sequence[Span]) -> ControlTokens:
        return ControlTokens(self.tokenizer, frame, self.template.render(" "))

    def _check_frame(self) -> None:
        name, frame = self.template.name, self.template.frame
        if frame == "chatml" and "<|im_start|>" not in self.tokenizer.get_vocab():
            raise ValueError(
                f"prompt template {name!r} is ChatML, and the model's tokenizer has no <|im_start|>; choose another "
                "template"
            )
        if frame == "model" and not self.tokenizer.chat_template:
            raise ValueError(
                f"prompt template {name!r} needs the model's chat template, and its tokenizer has none; choose another "
                "template"
            )

    def _check_roles(self, turns: Chat) -> None:
        name = self.template.name
        if turns and self.template.frame == "none":
            raise ValueError(
                f"a problem has turns of a chat before it ({turns[0][0]}: {turns[0][1][:40]!r}), and prompt template "
                f"{name!r} writes no chat; choose a template with a chat frame (ChatML, or the model's own)"
            )
        for role, content in turns:
            if role == "system" and (first := self.template.turns):
                raise ValueError(
                    f"a problem has a system turn of its own ({content[:40]!r}), and prompt template {name!r} begins "
                    f"with turns, too ({first[0][0]}: {first[0][1][:40]!r}); choose a template without, or leave the "
                    "problem's out"
                )
            if not role.isidentifier():
                raise ValueError(f"a turn before a problem has role {role!r}, which is no role of a chat")

    def _frames_of(self, many: Sequence[Turns]) -> list[Frame]:
        if self.template.frame == "none":
            return [Frame() for _ in many]
        chats = [(*self.template.turns, *turns) for turns in many]
        if self.template.frame == "chatml":
            return [chatml_frame(chat) for chat in chats]
        chat_template, special_tokens = self.tokenizer.get_chat_template(), self.tokenizer.special_tokens_map
        try:
            return model_frames(lambda asked: render_chats(chat_template, asked, special_tokens), chats)
        except ValueError as error:
            raise ValueError(
                f"prompt template {self.template.name!r} needs the model's chat template: {error}; choose another "
                "template"
            ) from error


def _turns(chat: Chat) -> Turns:
    return tuple((role, content) for role, content in chat)


def _automatic_head(tokenizer: PreTrainedTokenizerBase, template: PromptTemplate) -> list[int]:
    """What the tokenizer puts before any text by itself (BOS); a chat template brings its own."""
    if template.frame == "model":
        return []
    encoded = tokenizer("1", add_special_tokens=True, return_special_tokens_mask=True)
    pairs = zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)
    return [token for token, special in takewhile(lambda pair: pair[1], pairs)]
