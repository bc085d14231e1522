"""A model compared with itself: how often `aepo compare` sees a difference, or a crossover, where there is none.

    python benchmarks/compare_itself.py
    python benchmarks/compare_itself.py eval-embedded runs/aepo     # halves of real evaluations, too

Two evaluations of one model are drawn as sampling draws them: a pass rate for every problem from a beta distribution,
and n samples on either side. Their difference is 0 at every k. A row says how often that was inside of the 95 %
interval, at the smallest, a middle and the largest k; inside of all intervals at once; inside of the band over all k;
and how often the difference of the estimates crossed 0, and how often a crossover was reported. Beside ours stand the
intervals of a bootstrap that draws samples anew within the problems that it has drawn. Of a real evaluation, the
samples of every problem are dealt at random into two halves, which are evaluations of one model, too.

Where the two differ, a crossover may be noise all the same: "converging" are two models of which one is better at small
k, and both solve the same problems at large k.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aepo_rllib.eval.passk import pass_at_k_table, powers_of_two
from aepo_rllib.eval.reports.differences import difference_of
from aepo_rllib.eval.reports.evaluations import read_evaluations

PAIRS, RESAMPLES, TWO_LEVEL_PAIRS = 1000, 200, 200
SHAPES = {"embedded": (0.45, 0.6), "hard": (0.2, 2.0), "bimodal": (0.3, 0.3), "easy": (5.0, 2.0)}
"""Beta distributions of pass rates. The first has mean and spread of a trained embedded model's on its own suite."""
SIZES = ((30, 64), (96, 16), (96, 64), (500, 64))
"""Problems, and samples of each."""
Pair = tuple[np.ndarray, np.ndarray]
"""Correct samples of every problem on either side."""


class Share(NamedTuple):
    """Of pairs, in which so many what a column tells was so."""

    intervals: np.ndarray
    all_intervals: float
    band: float
    crossed: float
    reported: float


def main() -> None:
    rng = np.random.default_rng(0)
    print("| pass rates | problems | n | k = 1 | middle k | largest k | all intervals | band | crossed | reported |")
    print("| --- " * 10 + "|")
    for name, shape in SHAPES.items():
        for problems, n in SIZES:
            show(name, problems, n, measured(_same(rng, shape, problems, n), n, n))
    for problems, n in SIZES:
        show("embedded, 64 of 128 samples shared", problems, n, measured(_nested(rng, problems, n), n, 2 * n))
    for folder in map(Path, sys.argv[1:]):
        for suite, n, counts in _real(folder):
            show(f"halves of {suite}", len(counts), n // 2, measured(_halves(rng, counts, n), n // 2, n // 2))
    for problems, n in SIZES:
        found = measured(_converging(rng, problems, n), n, n)
        print(f"| converging | {problems} | {n} | | | | | | {percent(found.crossed)} | {percent(found.reported)} |")
    print("\n| pass rates | problems | n | k = 1 | middle k | largest k, problems and samples drawn anew |")
    print("| --- " * 6 + "|")
    for name, shape in SHAPES.items():
        shares = two_level(_same(rng, shape, 96, 64), 64)
        print(f"| {name} | 96 | 64 | {' | '.join(map(percent, shares))} |", flush=True)


def measured(pairs: Iterator[Pair], n: int, m: int) -> Share:
    """What the intervals of so many pairs hold, of n samples on one side and m on the other."""
    ks = powers_of_two(n)
    first, second = (pass_at_k_table(size, np.arange(size + 1), ks) for size in (n, m))
    held, whole, band, crossed, reported = np.zeros(len(ks)), 0, 0, 0, 0
    for number, (one, other) in zip(range(PAIRS), pairs, strict=False):
        found = difference_of("", second[other] - first[one], ks, RESAMPLES, number)
        inside = (found.curve.low <= 1e-12) & (found.curve.high >= -1e-12)
        held += inside
        whole += bool(inside.all())
        band += not found.sides.any()
        crossed += found.crossover is not None
        reported += found.crossover is not None and found.crossover.told
    return Share(held / PAIRS, whole / PAIRS, band / PAIRS, crossed / PAIRS, reported / PAIRS)


def two_level(pairs: Iterator[Pair], n: int) -> np.ndarray:
    """How often 0 is inside of percentile intervals where samples are drawn anew within the problems drawn."""
    rng, ks = np.random.default_rng(0), powers_of_two(n)
    table = pass_at_k_table(n, np.arange(n + 1), ks)
    held = np.zeros(len(ks))
    for _, (one, other) in zip(range(TWO_LEVEL_PAIRS), pairs, strict=False):
        drawn = rng.integers(len(one), size=(RESAMPLES, len(one)))
        differences = table[rng.binomial(n, other[drawn] / n)] - table[rng.binomial(n, one[drawn] / n)]
        low, high = np.quantile(differences.mean(axis=1), [0.025, 0.975], axis=0)
        held += (low <= 0) & (high >= 0)
    return held[[0, len(ks) // 2, -1]] / TWO_LEVEL_PAIRS


def show(name: str, problems: int, n: int, found: Share) -> None:
    middle = len(found.intervals) // 2
    shares = [*found.intervals[[0, middle, -1]], *found[1:]]
    print(f"| {name} | {problems} | {n} | {' | '.join(map(percent, shares))} |", flush=True)


def percent(share: float) -> str:
    return f"{100 * share:.0f}" if share > 0.02 or not share else f"{100 * share:.1f}"


def _pairs(draw: Callable[[], Pair]) -> Iterator[Pair]:
    while True:
        yield draw()


def _same(rng: np.random.Generator, shape: tuple[float, float], problems: int, n: int) -> Iterator[Pair]:
    def draw() -> Pair:
        rates = rng.beta(*shape, problems)
        return rng.binomial(n, rates), rng.binomial(n, rates)

    return _pairs(draw)


def _nested(rng: np.random.Generator, problems: int, n: int) -> Iterator[Pair]:
    """An evaluation, and the same with a larger n: its first samples are those of the smaller one."""

    def draw() -> Pair:
        rates = rng.beta(*SHAPES["embedded"], problems)
        one = rng.binomial(n, rates)
        return one, one + rng.binomial(n, rates)

    return _pairs(draw)


def _halves(rng: np.random.Generator, counts: np.ndarray, n: int) -> Iterator[Pair]:
    def draw() -> Pair:
        one = rng.hypergeometric(counts, n - counts, n // 2)
        left = counts - one if n % 2 == 0 else rng.hypergeometric(counts - one, n - n // 2 - counts + one, n // 2)
        return one, left

    return _pairs(draw)


def _converging(rng: np.random.Generator, problems: int, n: int) -> Iterator[Pair]:
    def draw() -> Pair:
        rates = rng.beta(*SHAPES["embedded"], problems)
        return rng.binomial(n, rates), rng.binomial(n, np.clip(rates + 0.15 * (rates > 0.02), 0, 1))

    return _pairs(draw)


def _real(folder: Path) -> Iterator[tuple[str, int, np.ndarray]]:
    """Name, samples and correct ones of every suite of an evaluation whose problems have equally many samples."""
    [evaluation] = read_evaluations([folder])
    for suite, counts in evaluation.counts.items():
        samples, correct = zip(*counts.values(), strict=True)
        if len(set(samples)) == 1 and samples[0] > 1:
            yield suite, samples[0], np.array(correct)


if __name__ == "__main__":
    main()
