"""From sums over samples to a forecast: which entropies can be held. Pure functions over numpy arrays.

A training moves through policies that nobody has before it. The base model at other temperatures stands in for them: at
each of a few levels tau, pi^tau is sampled (GRPO's stream), and so are its own tempered streams. What the tokens that
carry gradient do to the entropy, to first order (`objectives.entropy_pull`), is summed with the weights of the loss:

    rate(tau, T) = mean_t A phi_t over pi^tau  +  alpha mean_t R phi_t over (pi^tau)^T

Correct tempered samples alone count, so that what success pins down adds nothing. An entropy H(tau) can be held where
the hot rate is above 0 and the cold one below. Rates have no unit of time; their signs need none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

RISKY_ENTROPY = 0.18
"""Nats per token: base models below it tend to learn little by GRPO (arXiv 2606.18487)."""
DRAWS = 400
INTERVAL = (2.5, 97.5)


class Sums(NamedTuple):
    """Of one stream's completions, per problem, (P,) each.

    Attributes:
        pull: Of advantage or reward times `entropy_pull`, over tokens.
        entropy: Of exact entropies at the level, over tokens.
        tokens: Their number.
        correct: Share of the completions.
    """

    pull: np.ndarray
    entropy: np.ndarray
    tokens: np.ndarray
    correct: np.ndarray


class Level(NamedTuple):
    """What was sampled of pi^tau: itself, and at T_high and T_low."""

    tau: float
    main: Sums
    hot: Sums
    cold: Sums


class Rates(NamedTuple):
    """By level, in the order of tau, (L,) each: entropy, rates of GRPO and of the whole loss at T_high and T_low."""

    entropy: np.ndarray
    grpo: np.ndarray
    hot: np.ndarray
    cold: np.ndarray


@dataclass(frozen=True)
class Interval:
    """A figure with the ends of its 95 % interval, from a bootstrap over problems."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Forecast:
    """What a base model's entropy will do.

    Attributes:
        entropy: Of the base model, nats per token.
        grpo: Rate of GRPO alone at the base.
        hot, cold: Rates with the tempered term at T_high and T_low there.
        highest, lowest: Entropies between which targets can be held.
        beyond_highest, beyond_lowest: Whether that end is only as far as was sampled: the true one lies beyond.
        rates: By level.
    """

    entropy: Interval
    grpo: Interval
    hot: Interval
    cold: Interval
    highest: Interval
    lowest: Interval
    beyond_highest: bool
    beyond_lowest: bool
    rates: Rates


def rates_of(levels: Sequence[Level], alpha: float, problems: np.ndarray | None = None) -> Rates:
    """Rates of every level, over all problems or those at these places (with repetition, for a bootstrap)."""
    at = slice(None) if problems is None else problems
    rows = []
    for level in levels:
        main, hot, cold = (stream.pull[at].sum() / stream.tokens[at].sum() for stream in level[1:])
        entropy = level.main.entropy[at].sum() / level.main.tokens[at].sum()
        rows.append((entropy, main, main + alpha * hot, main + alpha * cold))
    return Rates(*np.array(rows).T)


def highest_held(rates: Rates, base: int) -> tuple[float, bool]:
    """(entropy, whether the true one lies beyond the levels) up to which the hot rate lifts.

    From the base upwards to where the hot rate is no longer above 0, or from there downwards to where it is.
    """
    return _crossing(rates.entropy, rates.hot, base)


def lowest_held(rates: Rates, base: int) -> tuple[float, bool]:
    """Likewise downwards: from where on the cold rate no longer lowers the entropy."""
    entropy, beyond = _crossing(-rates.entropy[::-1], -rates.cold[::-1], len(rates.entropy) - 1 - base)
    return -entropy, beyond


def forecast(levels: Sequence[Level], *, alpha: float = 1.0, seed: int = 0) -> Forecast:
    """The forecast of sampled levels, one of which is the base model itself (tau = 1).

    Raises:
        ValueError: no level of tau = 1.
    """
    levels = sorted(levels, key=lambda level: level.tau)
    taus = [level.tau for level in levels]
    if 1.0 not in taus:
        raise ValueError(f"a forecast needs the base model itself, tau = 1, among its levels {taus}")
    base, count = taus.index(1.0), len(levels[0].main.tokens)
    rates = rates_of(levels, alpha)
    figures, generator = [_figures(rates, base)], np.random.default_rng(seed)
    for _ in range(DRAWS):
        figures.append(_figures(rates_of(levels, alpha, generator.integers(count, size=count)), base))
    low, high = np.percentile(figures[1:], INTERVAL, axis=0)
    entropy, grpo, hot, cold, highest, lowest = (
        Interval(float(value), float(least), float(most))
        for value, least, most in zip(figures[0], low, high, strict=True)
    )
    beyond = highest_held(rates, base)[1], lowest_held(rates, base)[1]
    return Forecast(entropy, grpo, hot, cold, highest, lowest, *beyond, rates)


def _figures(rates: Rates, base: int) -> list[float]:
    at_base = [float(figure[base]) for figure in rates]
    return [*at_base, highest_held(rates, base)[0], lowest_held(rates, base)[0]]


def _crossing(entropy: np.ndarray, rate: np.ndarray, base: int) -> tuple[float, bool]:
    """Where the rate, followed from the base, changes its sign, linear between levels; and whether it does not."""
    step = 1 if rate[base] > 0 else -1
    place = base
    while 0 <= place + step < len(rate):
        here, there = rate[place], rate[place + step]
        if (here > 0) != (there > 0):
            share = here / (here - there)
            return float(entropy[place] + share * (entropy[place + step] - entropy[place])), False
        place += step
    return float(entropy[place]), True
