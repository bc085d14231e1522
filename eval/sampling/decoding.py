"""lm-eval's generation arguments, read into what a rollout engine takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lm_eval.models.utils import normalize_gen_kwargs

from aepo_rllib.rollout import SamplingFilters

KNOWN = {"do_sample", "temperature", "top_p", "top_k", "min_p", "max_gen_toks", "until"}
DEFAULT_MAX_TOKENS = 256
"""lm-eval's own default where a task names no limit."""


@dataclass(frozen=True)
class Decoding:
    """How completions are drawn.

    Attributes:
        max_new_tokens: Longest completion in tokens.
        temperature: Above 0.
        filters: Of the sampling law. Greedy decoding is top_k = 1.
        until: Stop strings; the text is cut before the first.
        greedy: Whether all completions of a prompt are the same.
    """

    max_new_tokens: int
    temperature: float
    filters: SamplingFilters
    until: tuple[str, ...] = ()
    greedy: bool = False

    @classmethod
    def from_kwargs(cls, kwargs: Mapping[str, Any]) -> Decoding:
        """Read a request's generation arguments.

        Raises:
            ValueError: an argument that would be ignored, or one out of its range.
        """
        given = dict(normalize_gen_kwargs(dict(kwargs), default_max_gen_toks=DEFAULT_MAX_TOKENS))
        if unknown := sorted(set(given) - KNOWN):
            hint = "; samples are seeded by the model argument `seed`" if "seed" in unknown else ""
            raise ValueError(f"aepo-hf does not know the generation argument {', '.join(unknown)}{hint}")
        temperature = float(given.get("temperature") or 0.0)
        if temperature < 0:
            raise ValueError(f"temperature must not be negative, got {temperature}")
        greedy = not given["do_sample"] or temperature == 0
        filters = SamplingFilters(
            top_k=max(int(given.get("top_k") or 0), 0),
            top_p=float(given.get("top_p") or 1.0),
            min_p=float(given.get("min_p") or 0.0),
        )
        until = tuple(stop for stop in given["until"] if stop)
        if greedy:
            return cls(given["max_gen_toks"], 1.0, SamplingFilters(top_k=1), until, greedy=True)
        return cls(given["max_gen_toks"], temperature, filters, until)

    def law(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        return asdict(self)

    def cut(self, text: str) -> str:
        """`text` up to the first stop string."""
        return text[: min((place for stop in self.until if (place := text.find(stop)) >= 0), default=len(text))]
