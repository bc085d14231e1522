from itertools import combinations

import numpy as np
import pytest

from aepo_rllib.envs.grading.literals import spelling
from aepo_rllib.eval.majority import maj_at_k


def by_subsets(answers, correct, k):
    """The definition: mean over all k-subsets, ties shared."""
    total = []
    for subset in combinations(range(len(answers)), k):
        votes = {}
        for i in subset:
            if answers[i]:
                votes[answers[i]] = votes.get(answers[i], 0) + 1
        winners = [answer for answer, count in votes.items() if count == max(votes.values())]
        right = {answers[i] for i in subset if correct[i]}
        total.append(sum(answer in right for answer in winners) / len(winners) if winners else 0.0)
    return np.mean(total), np.std(total)


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_all_subsets(seed):
    rng = np.random.default_rng(seed)
    answers = [str(value) if value else "" for value in rng.integers(0, 4, size=9)]
    correct = [answer == "1" for answer in answers]
    ks = range(1, 10)
    found = maj_at_k(answers, correct, list(ks), seed=seed)
    for k, value in zip(ks, found, strict=True):
        mean, spread = by_subsets(answers, correct, k)
        assert value == pytest.approx(mean, abs=max(5 * spread / np.sqrt(256), 1e-12)), k
    assert found[-1] == pytest.approx(by_subsets(answers, correct, 9)[0], abs=1e-15)


def test_known_votes():
    assert maj_at_k(["1", "1", "2"], [True, True, False], [3])[0] == 1
    assert maj_at_k(["1", "2", "2"], [True, False, False], [3])[0] == 0
    assert maj_at_k(["1", "2"], [True, False], [2])[0] == 0.5
    assert maj_at_k(["", "", "1"], [False, False, True], [3])[0] == 1
    assert maj_at_k(["", ""], [False, False], [1, 2]).tolist() == [0, 0]


def test_k_above_n_is_undefined_and_below_one_refused():
    assert np.isnan(maj_at_k(["1"], [True], [2])).all()
    assert np.isnan(maj_at_k([], [], [1])).all()
    with pytest.raises(ValueError, match="k >= 1"):
        maj_at_k(["1"], [True], [0])


def test_votes_are_spellings_without_ornament():
    for same in (("7", "07", "7.", "$7$", r"\$7", "+7"), (r"\frac{1}{2}", r"$\frac{1}{2}$."), ("10,000", "10000")):
        assert len(set(map(spelling, same))) == 1
    assert spelling("0.5") == spelling(r"\frac{1}{2}") != spelling("0.51")
    assert spelling(r"\sqrt{4}") != spelling("2")


def test_a_number_that_is_right_in_one_spelling_only_does_not_share_its_verdict():
    """Where a percent sign has a meaning 62.5 is not 62.5 %."""
    answers = [r"62.5\%", "62.5", "62.5", "62.5", "0.7", "0.7"]
    assert maj_at_k(answers, [True, *[False] * 5], [6])[0] == 0
