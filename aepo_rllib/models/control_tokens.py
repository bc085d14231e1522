"""One encoding of a whole prompt, in which only the frame can put control tokens."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from aepo_rllib.models.chat_frame import Span

STAND_IN = "1"
"""In place of a foreign text where only the frame is of interest."""


class ControlTokens:
    """Encodes prompts of one frame.

    Control tokens are the special ones, and those among the tokenizer's other added ones that the frame marks its
    turns with: some models do not call these special. An added token that is a word or blanks, or one that the prompt
    template itself writes into a text, is vocabulary like any other.

    Args:
        tokenizer: Of the model.
        frame: The spans of a prompt; what the foreign ones say does not matter.
        wording: The prompt template's own text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, frame: Sequence[Span], wording: str) -> None:
        self.tokenizer = tokenizer
        ids = _encode(tokenizer, "".join(span.text if span.own else STAND_IN for span in frame))
        vocabulary, special = set(_encode(tokenizer, wording)), set(tokenizer.all_special_ids)
        self._names = {
            token_id: token.content
            for token_id, token in tokenizer.added_tokens_decoder.items()
            if token.special
            or token_id in special
            or (token_id in ids and token_id not in vocabulary and _is_marker(token.content))
        }
        # Any text may hold what the tokenizer does not know, unless it knows everything, as GPT-2's, and says EOS here.
        self._unknown = set(self._names) & {tokenizer.unk_token_id} - {tokenizer.bos_token_id, tokenizer.eos_token_id}
        self._expected = self._controls(ids)

    def encode(self, spans: Sequence[Span]) -> list[int]:
        """Token ids of a prompt: those of its text as a whole, unless a foreign span brings a control token.

        Raises:
            ValueError: the tokenizer reads a foreign text as a control token and in no other way.
        """
        ids = _encode(self.tokenizer, "".join(span.text for span in spans))
        named = any(self._names[unknown] in span.text for unknown in self._unknown for span in spans if not span.own)
        if self._controls(ids) == self._expected and not named:
            return ids
        ids = self._renamed_ids(spans) if self.tokenizer.is_fast else self._ids_in_parts(spans)
        if self._controls(ids) != self._expected:
            texts = " ... ".join(repr(span.text[:60]) for span in spans if not span.own)
            raise ValueError(
                f"the model's tokenizer reads a part of {texts} as one of its control tokens, and cannot read it as "
                "text; leave this text out"
            )
        return ids

    def _controls(self, ids: Sequence[int]) -> list[int]:
        return [token_id for token_id in ids if token_id in self._names and token_id not in self._unknown]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """The names of control tokens, the longest first, as tokenizers match them."""
        return re.compile("|".join(map(re.escape, sorted(self._names.values(), key=len, reverse=True))))

    @cached_property
    def _secret_names(self) -> dict[str, str]:
        """What control tokens are called where no text can know it."""
        return {name: f"<{secrets.token_hex(16)}>" for name in self._names.values()}

    @cached_property
    def _renamed(self) -> Tokenizer:
        return _with_names(self.tokenizer.backend_tokenizer, self._secret_names)

    def _renamed_ids(self, spans: Sequence[Span]) -> list[int]:
        """Still one encoding, by a tokenizer whose control tokens have secret names, which the frame uses."""
        parts = [
            self._pattern.sub(lambda found: self._secret_names[found[0]], span.text) if span.own else span.text
            for span in spans
        ]
        return self._renamed.encode("".join(parts), add_special_tokens=False).ids

    def _ids_in_parts(self, spans: Sequence[Span]) -> list[int]:
        """What stands between the frame's control tokens, part by part, as Python tokenizers do themselves."""
        parts: list[tuple[str, bool]] = []
        for span in spans:
            plain = self._pattern.split(span.text) if span.own else [span.text]
            controls = self._pattern.findall(span.text) if span.own else []
            parts.append((plain[0], False))
            for control, following in zip(controls, plain[1:], strict=True):
                parts += [(control, True), (following, False)]
        ids: list[int] = []
        for control, run in groupby(parts, key=lambda part: part[1]):
            texts = [text for text, _ in run]
            if control:
                ids += self.tokenizer.convert_tokens_to_ids(texts)
            else:
                ids += _encode(self.tokenizer, "".join(texts), split_special_tokens=True)
        return ids


def _encode(tokenizer: PreTrainedTokenizerBase, text: str, **options: Any) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, **options)["input_ids"])


def _is_marker(name: str) -> bool:
    """Whether an added token looks like `<|user|>`: letters, and something else than letters, digits and blanks."""
    return any(map(str.isalpha, name)) and not re.fullmatch(r"[\w\s]*", name)


def _with_names(tokenizer: Tokenizer, names: dict[str, str]) -> Tokenizer:
    """The same tokenizer with other names for some added tokens; their ids stay."""
    content = json.loads(tokenizer.to_str())
    content |= {"truncation": None, "padding": None, "post_processor": None}
    for token in content["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    # The model's own vocabulary may hold them too: it could then still read them in a text by itself.
    model = content["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(piece, piece): token_id for piece, token_id in model["vocab"].items()}
    else:
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    if merges := model.get("merges"):
        model["merges"] = [pair for pair in merges if not {*pair, "".join(pair)} & names.keys()]
    if model.get("unk_token"):
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    return Tokenizer.from_str(json.dumps(content))
