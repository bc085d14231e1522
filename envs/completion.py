"""A completion as environments and reward functions see it."""

from __future__ import annotations


class SampledText(str):
    """A completion's text that knows its length in tokens and whether it was cut at the token limit.

    Attributes:
        tokens: Its end token included; None where whoever made the text does not tell.
        truncated: Likewise.
    """

    tokens: int | None
    truncated: bool | None

    def __new__(cls, text: str, *, tokens: int | None = None, truncated: bool | None = None) -> SampledText:
        """A string with two attributes more."""
        sampled = super().__new__(cls, text)
        sampled.tokens, sampled.truncated = tokens, truncated
        return sampled

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, int | None]]:
        return (str(self),), {"tokens": self.tokens, "truncated": self.truncated}
