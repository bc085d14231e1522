"""A method tried on a handful of made-up rows: a part that breaks its contract is refused before anything starts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import torch

from aepo_rllib.objectives.advantages import Graded
from aepo_rllib.objectives.aggregation import AGGREGATIONS
from aepo_rllib.objectives.parts import OPTIONAL, Method, Tokens, reads_of

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
ROWS, WIDTH = 7, 5


def check_method(make: Callable[[], Any], reserved: frozenset[str] = frozenset()) -> None:
    """Refuse a method whose parts are not what `parts` says they are.

    Args:
        make: Gives the method; it is asked in every process, so twice here.
        reserved: Names that no stream may have: figures are logged under them.

    Raises:
        ValueError: names the stream or term, and what is wrong.
    """
    method, again = make(), make()
    if not isinstance(method, Method) or not isinstance(again, Method):
        raise ValueError(f"method() gave {method!r:.80}; it has to return a Method")
    for name, stream in method.streams.items():
        if not NAME.fullmatch(name) or name in reserved:
            others = ", ".join(sorted(reserved))
            raise ValueError(f"stream {name!r}: its name must be an identifier, and none of {others}")
        if not 0 < stream.share <= 1:
            raise ValueError(f"stream {name!r}: share={stream.share!r} must be above 0 and at most 1")
        what = f"advantage of stream {name!r}"
        _check_numbers(what, _tried(what, stream.advantage, _groups()), _groups().rewards_PG)
    for name, term in method.terms.items():
        if not NAME.fullmatch(name):
            raise ValueError(f"term {name!r}: its name must be an identifier")
        if not isinstance(term.coefficient, int | float) or not math.isfinite(term.coefficient):
            raise ValueError(f"term {name!r}: coefficient={term.coefficient!r} must be a finite number")
        if term.aggregation not in (None, *AGGREGATIONS):
            raise ValueError(f"term {name!r}: unknown aggregation {term.aggregation!r}; know {', '.join(AGGREGATIONS)}")
        _check_loss(f"loss of term {name!r}", term.loss, again.terms[name].loss if name in again.terms else None)
        if term.select is not None:
            _check_selection(f"selection of term {name!r}", term.select)


def _check_loss(what: str, loss: Callable[..., Any], again: Callable[..., Any] | None) -> None:
    tokens = _tokens()
    values = _tried(what, loss, _shown(loss, tokens))
    _check_numbers(what, values, tokens.logp)
    alone = torch.cat([loss(_row(_shown(loss, tokens), n)) for n in range(ROWS)])
    if not torch.allclose(torch.where(tokens.mask, values, 0.0), torch.where(tokens.mask, alone, 0.0), atol=1e-5):
        raise ValueError(
            f"{what}: a row's losses depend on the rows beside it (a mean over rows?), and so on how a batch is cut; "
            "means are the config's aggregation, choices among all tokens a selection"
        )
    if again is None or not torch.equal(values, again(_shown(again, tokens))):
        raise ValueError(f"{what} differs between two calls of method(), which must depend on the options alone")


def _check_selection(what: str, select: Callable[..., Any]) -> None:
    tokens = _tokens()
    factors = _tried(what, select, _shown(select, tokens), torch.Generator().manual_seed(0))
    _check_numbers(what, factors, tokens.logp)
    if (factors < 0).any():
        raise ValueError(f"{what} gives factors below 0, which would learn the opposite")


def _shown(part: Callable[..., Any], tokens: Tokens) -> Tokens:
    """The tokens as the learner gives them: without what the part is not marked to read."""
    hidden: dict[str, Any] = dict.fromkeys(OPTIONAL - reads_of(part))
    return tokens._replace(**hidden)


def _row(tokens: Tokens, number: int) -> Tokens:
    alone: list[Any] = [field if field is None else field[number : number + 1] for field in tokens]
    return Tokens(*alone)


def _tried(what: str, part: Callable[..., Any], *given: Any) -> Any:
    try:
        return part(*given)
    except (TypeError, AttributeError, AssertionError, RuntimeError, IndexError) as error:
        raise ValueError(
            f"{what} cannot be computed ({type(error).__name__}: {error}); what it reads besides log-prob, advantage "
            "and mask has to be named by @reads"
        ) from error


def _check_numbers(what: str, values: Any, like: torch.Tensor) -> None:
    if not isinstance(values, torch.Tensor) or values.shape != like.shape:
        shape = tuple(values.shape) if isinstance(values, torch.Tensor) else type(values).__name__
        raise ValueError(f"{what} gives {shape}, and must give a tensor of the shape of its input, {tuple(like.shape)}")
    if not torch.isfinite(values.float()).all():
        raise ValueError(f"{what} gives numbers that are not finite")


def _groups() -> Graded:
    return Graded(
        torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0] * 4, [0.0] * 4]),
        torch.tensor([[True, True, True, False], [True] * 4, [False] * 4]),
        torch.full((3, 4), WIDTH),
        torch.zeros(3, 4),
    )


def _tokens() -> Tokens:
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(WIDTH) < torch.tensor([1, 3, 5, 2, 4, 5, 3]).unsqueeze(-1)

    def real(values: torch.Tensor) -> torch.Tensor:
        return torch.where(mask, values, torch.zeros_like(values))

    uniform = [torch.rand(ROWS, WIDTH, generator=generator) for _ in range(7)]
    advantage = torch.randn(ROWS, 1, generator=generator).expand(ROWS, WIDTH)
    logp, old, entropy, ref, heated, core, tempered = (real(values) for values in uniform)
    return Tokens(-logp, -old, real(advantage), mask, entropy, -ref, -heated, core, -tempered)
