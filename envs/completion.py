"""A completion as environments and reward functions see it."""

from __future__ import annotations

from typing import Any


class SampledText(str):
    """A completion's text that knows its length in tokens, whether it was cut at the token limit, and more.

    Attributes:
        tokens: Its end token included; None where whoever made the text does not tell.
        truncated: Likewise.
        form: In which the prompt asked for the answer, see `aepo_rllib.envs.grading.answers`; None likewise.
    """

    tokens: int | None
    truncated: bool | None
    form: str | None

    def __new__(
        cls, text: str, *, tokens: int | None = None, truncated: bool | None = None, form: str | None = None
    ) -> SampledText:
        """A string with three attributes more."""
        sampled = super().__new__(cls, text)
        sampled.tokens, sampled.truncated, sampled.form = tokens, truncated, form
        return sampled

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        return (str(self),), {"tokens": self.tokens, "truncated": self.truncated, "form": self.form}
