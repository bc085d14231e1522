"""A text space for real text."""

from __future__ import annotations

from typing import Any

from gymnasium.spaces import Text


class AnyText(Text):
    """Any string within the length bounds; samples are printable ASCII.

    `gymnasium.spaces.Text` contains only strings over an explicit charset. LaTeX and Unicode do not fit its default,
    and a charset of all of Unicode takes seconds to build and 46 MB to pickle.
    """

    def __init__(self, max_length: int = 1_000_000, *, seed: int | None = None) -> None:
        super().__init__(max_length, min_length=0, charset="".join(chr(code) for code in range(32, 127)), seed=seed)

    def contains(self, x: Any) -> bool:
        """Whether `x` is a string that is not too long."""
        return isinstance(x, str) and self.min_length <= len(x) <= self.max_length

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A short random string of printable ASCII."""
        if mask is None and probability is None:
            return "".join(self.np_random.choice(list(self.character_set), size=self.np_random.integers(0, 32)))
        return super().sample(mask, probability)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, AnyText) and self.max_length == other.max_length

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"AnyText(max_length={self.max_length})"
