"""Which tokens carry a solution's content: numbers and operators, the parts of its content path. All else is style."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from aepo_rllib.envs.content_path import content_path


class ContentTokens:
    """Tells the tokens of a vocabulary apart by their own text, see `aepo_rllib.envs.content_path`.

    A number or operator that a tokenizer splits into letters (`\\fr` `ac`) is not seen. Whether success depends on the
    choice of these more than on that of others is measured by `aepo doctor --entropy`, see docs/forecast.md.

    Args:
        tokenizer: Of the model.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer, self._known = tokenizer, dict[int, bool]()

    def mask(self, token_ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """True where a token is content, (T,)."""
        return np.array([self._is_content(int(token_id)) for token_id in token_ids], dtype=bool)

    def _is_content(self, token_id: int) -> bool:
        if token_id not in self._known:
            text = self._tokenizer.decode([token_id], skip_special_tokens=True)
            self._known[token_id] = bool(content_path(text))
        return self._known[token_id]
