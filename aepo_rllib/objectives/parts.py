"""The parts a method is made of.

    loss = sum over terms k of coefficient_k * sum over rows i of its stream, mean_i * sum_t select_kit * loss_k(i, t)

A *stream* is rows that were sampled alike; a *term* is a per-token loss over one stream. Several terms may read the
same rows: these go through the model once. `mean_i`, the coefficient and the number of learners arrive as one weight
per row and term, made where the batch is dealt; so a coefficient may change every step, and the learner knows no dial.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import torch

from aepo_rllib.objectives.advantages import Advantage

MAIN = "main"
"""The stream every method has: completions of the policy itself, at T = 1."""


class Tokens(NamedTuple):
    """What a loss or a selection may read of a stream's rows: each (B, T), 0 on padding; `OPTIONAL` ones are None to a
    part that is not marked by `reads`.

    Attributes:
        logp: log pi of the policy that learns; with gradient in a loss, without in a selection.
        old_logp: log pi of the policy that sampled, at T = 1.
        advantage: One number a row, or a token.
        mask: True on completion tokens.
        entropy: Exact entropy of pi in nats, with gradient in a loss.
        ref_logp: log-prob under the run's starting weights.
        heated_logp: log-prob under the policy that sampled, at the temperature that the training step names.
        core_entropy: As `entropy`, within the likeliest tokens alone, see `entropy.core_log_probs`.
        tempered_logp: As `logp`, at the temperature that the training step names; for losses.
    """

    logp: torch.Tensor
    old_logp: torch.Tensor | None
    advantage: torch.Tensor
    mask: torch.Tensor
    entropy: torch.Tensor | None = None
    ref_logp: torch.Tensor | None = None
    heated_logp: torch.Tensor | None = None
    core_entropy: torch.Tensor | None = None
    tempered_logp: torch.Tensor | None = None


OPTIONAL = frozenset({"old_logp", "entropy", "ref_logp", "heated_logp", "core_entropy", "tempered_logp"})
"""Fields of `Tokens` that are there for those who read them."""
TokenLoss = Callable[[Tokens], torch.Tensor]
"""Losses (B, T) of all tokens. It knows neither denominators nor coefficients, and looks at each row alone: which rows
come together depends on how the batch is cut into passes."""
Selection = Callable[[Tokens, torch.Generator], torch.Tensor]
"""Factors (B, T) of every token's loss, without gradient, made once per optimizer step over the rows of *all* learners,
under the weights before the step. Whatever is drawn is drawn on the CPU from the generator, which seed and step key."""
ZERO = "zero_without_advantage"
Part = TypeVar("Part", bound=Callable[..., Any])


def reads(*names: str) -> Callable[[Part], Part]:
    """Marks a loss or selection with the fields of `Tokens` that are provided for it; no others are computed.

    "old_logp" marks an importance ratio: with `importance_cap` its denominator is the learner's, not the engine's.
    Marks add up. A part that bears one already, or a partial, is left as it is, and a marked copy returned.

    Raises:
        ValueError: a name that is no field of `Tokens`.
    """
    if unknown := set(names) - set(Tokens._fields):
        raise ValueError(f"{', '.join(sorted(unknown))}: no field of Tokens; there are {', '.join(Tokens._fields)}")

    def mark(part: Part) -> Part:
        marked: Any = partial(part) if isinstance(part, partial) or hasattr(part, "reads") else part
        marked.reads = reads_of(part) | frozenset(names)
        return cast("Part", marked)

    return mark


def zero_without_advantage(loss: Part) -> Part:
    """Marks a loss that has no gradient where the advantage is 0: such rows need not go through the model."""
    setattr(loss, ZERO, True)
    return loss


@dataclass(frozen=True)
class Stream:
    """Rows that are sampled alike.

    Attributes:
        advantage: From graded groups to advantages.
        share: Of the batch's prompts, the first in order.
        tempered: Whether it is drawn at another temperature than 1: its losses are never corrected for the law that
            sampled (Corollary F in docs/method.md).
    """

    advantage: Advantage
    share: float = 1.0
    tempered: bool = False


@dataclass(frozen=True)
class Term:
    """One term of a loss.

    Attributes:
        loss: Per-token loss.
        stream: Whose rows.
        coefficient: What it is multiplied by; a training step may replace it.
        select: Which of the tokens, or how much of each; None for all alike.
        aggregation: Name of its mean, see `aggregation.row_weights`; None for the config's.
    """

    loss: TokenLoss
    stream: str = MAIN
    coefficient: float = 1.0
    select: Selection | None = None
    aggregation: str | None = None

    @property
    def needs_all_rows(self) -> bool:
        """Whether rows without advantage matter to it, for their own gradient or for a choice among all tokens."""
        return self.select is not None or not any(hasattr(layer, ZERO) for layer in _layers(self.loss))

    @property
    def reads(self) -> frozenset[str]:
        """Fields of `Tokens` that its loss needs."""
        return reads_of(self.loss)

    @property
    def scored_reads(self) -> frozenset[str]:
        """Fields that its loss or its selection needs."""
        return self.reads | (reads_of(self.select) if self.select else frozenset())

    @property
    def has_ratio(self) -> bool:
        """Whether its loss divides by the policy that sampled."""
        return "old_logp" in self.reads


@dataclass(frozen=True)
class Method:
    """What is sampled, and what is learned from it.

    Attributes:
        streams: By name; "main" is there. One that no term reads is sampled, and its rows are left to the algorithm.
        terms: By name, which is also the name of the term's metric.

    Raises:
        ValueError: no "main", no term, or a term of an unknown stream.
    """

    streams: Mapping[str, Stream]
    terms: Mapping[str, Term]

    def __post_init__(self) -> None:
        if MAIN not in self.streams:
            raise ValueError(f"a method needs a stream {MAIN!r}, and has {', '.join(self.streams) or 'none'}")
        if not self.terms:
            raise ValueError("a method needs a term, and has none")
        for name, term in self.terms.items():
            if term.stream not in self.streams:
                raise ValueError(f"term {name!r} reads stream {term.stream!r}; there are {', '.join(self.streams)}")

    def terms_of(self, stream: str) -> dict[str, Term]:
        """The terms that read a stream."""
        return {name: term for name, term in self.terms.items() if term.stream == stream}

    @property
    def reads(self) -> frozenset[str]:
        """Fields of `Tokens` that some loss needs."""
        return frozenset().union(*(term.reads for term in self.terms.values()))

    @property
    def selection_reads(self) -> frozenset[str]:
        """Likewise, some selection."""
        return frozenset().union(*(reads_of(term.select) for term in self.terms.values() if term.select))


def term_values(
    terms: Mapping[str, Term], tokens: Tokens, weight_BK: torch.Tensor, factor_BKT: torch.Tensor | None = None
) -> dict[str, torch.Tensor]:
    """The value of each term of one stream; their sum is minimised.

    Args:
        terms: K terms of the stream.
        tokens: Of its rows.
        weight_BK: What the sum of a row's token losses is multiplied by, coefficient included.
        factor_BKT: Of each token's loss, from selections; None is 1.

    Returns:
        A scalar each, a differentiable zero where there are no rows.
    """
    values = {}
    for place, (name, term) in enumerate(terms.items()):
        if not len(tokens.mask):
            values[name] = tokens.logp.sum()
            continue
        loss_BT = term.loss(tokens)
        if factor_BKT is not None:
            loss_BT = factor_BKT[:, place] * loss_BT
        loss_BT = torch.where(tokens.mask, loss_BT, torch.zeros_like(loss_BT))
        values[name] = (loss_BT.sum(-1) * weight_BK[:, place]).sum()
    return values


def reads_of(part: Callable[..., Any]) -> frozenset[str]:
    """The fields of `Tokens` that a loss or selection was marked with."""
    return frozenset().union(*(getattr(layer, "reads", frozenset()) for layer in _layers(part)))


def _layers(part: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """A part, and what it is a partial of."""
    yield part
    while isinstance(part, partial):
        part = part.func
        yield part
