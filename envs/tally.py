"""`Tally`: how often each answer, and each way to a correct one, was given to a problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from aepo_rllib.envs.grading.literals import spelling
from aepo_rllib.envs.rarefaction import distinct_among, entropy, plug_in_entropy


class Tally(NamedTuple):
    """What the samples of one problem hold: how often each different answer and path, largest first.

    Answers are the same whose `spelling` and verdict are, as in a majority vote. Samples that state none count among
    the n samples, but have no share in the entropy. Of a problem with fewer than 2 samples no entropy is known.

    Attributes:
        n: Samples.
        correct_answers: By answer that is correct: in how many of them it was given.
        wrong_answers: By any other answer, those that nobody has judged included.
        correct_paths: By `content_path` of a correct sample: how many went it.
    """

    n: int
    correct_answers: tuple[int, ...]
    wrong_answers: tuple[int, ...]
    correct_paths: tuple[int, ...]

    @classmethod
    def of(cls, answers: Sequence[str], right: Sequence[bool], paths: Sequence[str]) -> Tally:
        """Count.

        Args:
            answers: The final answer of each sample, "" where there is none.
            right: Whether it is correct.
            paths: `path_key` of every correct sample; of others it is not looked at.
        """
        spelled: Counter[tuple[str, bool]] = Counter()
        for (answer, correct), times in Counter(zip(answers, right, strict=True)).items():
            spelled[spelling(answer), bool(correct)] += times
        stated = {kind: times for kind, times in spelled.items() if kind[0]}
        walked = Counter(path for path, correct in zip(paths, right, strict=True) if correct)
        return cls(
            n=len(answers),
            correct_answers=_sizes(times for (_, correct), times in stated.items() if correct),
            wrong_answers=_sizes(times for (_, correct), times in stated.items() if not correct),
            correct_paths=_sizes(walked.values()),
        )

    @property
    def answers(self) -> tuple[int, ...]:
        """By answer, of whatever verdict: in how many samples it was given."""
        return (*self.correct_answers, *self.wrong_answers)

    def distinct_answers(self, k: int) -> float:
        """Expected number of different answers among k samples, see `distinct_among`."""
        return distinct_among(k, self.n, self.answers)

    def distinct_correct_answers(self, k: int) -> float:
        """Expected number of different correct answers among k samples: pass@k where only one answer is correct."""
        return distinct_among(k, self.n, self.correct_answers)

    def distinct_correct_paths(self, k: int) -> float:
        """Expected number of different paths to a correct answer among k samples: pass@k or more."""
        return distinct_among(k, self.n, self.correct_paths)

    def answer_entropy(self) -> float:
        """Estimate of the entropy of the answers that are stated, in nats, see `rarefaction.entropy`."""
        return entropy(self.answers)

    def plug_in_answer_entropy(self) -> float:
        """Entropy of the shares of the answers that were stated, in nats."""
        return plug_in_entropy(self.answers)

    def path_diversity(self) -> float | None:
        """Share of pairs of correct samples that differ in their paths; None where there are not two correct ones.

        It does not grow with accuracy, as the number of paths does.
        """
        correct = sum(self.correct_paths)
        return distinct_among(2, correct, self.correct_paths) - 1 if correct > 1 else None


def _sizes(counts: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(counts, reverse=True))
