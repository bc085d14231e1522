"""From prompt text to token ids: the frame's special tokens stay special, the text's never become so."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile

import numpy as np
from transformers import PreTrainedTokenizerBase

from aepo_rllib.chat_template import render_chat
from aepo_rllib.envs.prompts import PromptTemplate

_MARK = "\N{OBJECT REPLACEMENT CHARACTER}Text <goes> & 'stays' \"here\" {as it is}\N{OBJECT REPLACEMENT CHARACTER}"
"""Stands for a text. Whatever a chat template does to texts (other case, other quotes, HTML) changes it."""


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
        self.tokenizer = tokenizer
        head, tail = self._frame(template)
        self.head_ids = [
            *_automatic_head(tokenizer, template),
            *tokenizer.encode(head, add_special_tokens=False),
        ]
        self.tail_ids = tokenizer.encode(tail, add_special_tokens=False)
        self._encode_text = lru_cache(maxsize=4096)(self._text_ids)

    def encode(self, text: str) -> list[int]:
        """Token ids of the framed text."""
        return [*self.head_ids, *self._encode_text(text), *self.tail_ids]

    def decode(self, token_ids: Sequence[int] | np.ndarray) -> str:
        """A completion as text, special tokens left out."""
        return self.tokenizer.decode(token_ids, skip_special_tokens=True)

    def _text_ids(self, text: str) -> tuple[int, ...]:
        # split_special_tokens: "<eos>" inside a problem is five characters, not the end of the sequence.
        return tuple(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def _frame(self, template: PromptTemplate) -> tuple[str, str]:
        if template.frame == "none":
            return "", ""
        if template.frame == "chatml":
            if "<|im_start|>" not in self.tokenizer.get_vocab():
                raise ValueError(
                    f"prompt template {template.name!r} is ChatML, and the model's tokenizer has no <|im_start|>; "
                    "choose another template"
                )
            system = f"<|im_start|>system\n{template.system}<|im_end|>\n" if template.system else ""
            return f"{system}<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
        if not self.tokenizer.chat_template:
            raise ValueError(
                f"prompt template {template.name!r} needs the model's chat template, and its tokenizer has none; "
                "choose another template"
            )
        opening = [{"role": "system", "content": template.system}] if template.system else []
        turns = [*opening, {"role": "user", "content": _MARK}]
        chat_template = self.tokenizer.get_chat_template()
        framed = render_chat(chat_template, turns, self.tokenizer.special_tokens_map)
        if framed.count(_MARK) != 1:
            raise ValueError(
                f"prompt template {template.name!r} needs the model's chat template, which gives a text back "
                f"{framed.count(_MARK)} times, or changed, instead of once as it is; choose another template"
            )
        if template.system and template.system not in framed:
            raise ValueError(
                f"prompt template {template.name!r} has a system turn, which the model's chat template leaves out; "
                "choose another template"
            )
        head, _, tail = framed.partition(_MARK)
        return head, tail


def _automatic_head(tokenizer: PreTrainedTokenizerBase, template: PromptTemplate) -> list[int]:
    """What the tokenizer puts before any text by itself (BOS); a chat template brings its own."""
    if template.frame == "model":
        return []
    encoded = tokenizer("1", add_special_tokens=True, return_special_tokens_mask=True)
    pairs = zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)
    return [token for token, special in takewhile(lambda pair: pair[1], pairs)]
