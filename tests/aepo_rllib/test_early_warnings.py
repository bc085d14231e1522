"""A run that cannot learn says so within three steps: once, why, and which option helps."""

from __future__ import annotations

import dataclasses
import re
from inspect import signature

import pytest

from aepo_rllib import metrics
from aepo_rllib.envs.env_arguments import check_env_arguments
from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.training.config import TextRLConfig
from aepo_rllib.training.early_warnings import EarlyWarnings


@dataclasses.dataclass
class Sizes:
    max_new_tokens: int = 64
    group_size: int = 8


CORRECT, NO_ANSWER = metrics.verdict_share(Verdict.CORRECT), metrics.verdict_share(Verdict.NO_ANSWER)
HEALTHY = {metrics.REWARD_MEAN: 0.4, CORRECT: 0.4, metrics.TRUNCATED_SHARE: 0.5, NO_ANSWER: 0.5}
HEALTHY |= {metrics.FLAT_GROUP_SHARE: 0.99}
NOTHING_RIGHT = {metrics.REWARD_MEAN: 0.0, CORRECT: 0.0, metrics.FLAT_GROUP_SHARE: 1.0}


def said(*steps: dict[str, float]) -> list[list[str]]:
    watch = EarlyWarnings(Sizes())
    return [watch.observe(step) for step in steps]


@pytest.mark.parametrize(
    ("trouble", "cause", "cure"),
    [
        ({metrics.TRUNCATED_SHARE: 0.51}, "51% .* cut off at max_new_tokens=64", "raise max_new_tokens"),
        ({NO_ANSWER: 0.94}, "94% .* state no final answer", r"env_config\.template.*env_config\.answer_form"),
        (
            NOTHING_RIGHT,
            "no completion of the last 3 steps was rewarded",
            r"env_config\.verifier.*group_size \(now 8\)",
        ),
        ({metrics.FLAT_GROUP_SHARE: 1.0}, "earned the same", r"easier problems.*group_size \(now 8\)"),
        ({metrics.FLAT_GROUP_SHARE: 1.0, metrics.REWARD_MEAN: 1.0}, "earned the same", "harder problems"),
    ],
)
def test_each_trouble_is_told_once_with_cause_and_cure(trouble: dict[str, float], cause: str, cure: str) -> None:
    told = said(*[HEALTHY | trouble] * 9)
    assert [len(sentences) for sentences in told] == [0, 0, 1, 0, 0, 0, 0, 0, 0]
    [[text]] = [sentences for sentences in told if sentences]
    assert re.search(f"{cause}.*{cure}", text), text


def test_a_run_on_the_edge_of_every_trouble_hears_nothing() -> None:
    assert not any(said(*[HEALTHY] * 20))


def test_one_step_with_a_reward_is_enough() -> None:
    assert not any(said(*[HEALTHY | NOTHING_RIGHT, HEALTHY | NOTHING_RIGHT, HEALTHY] * 5))


def test_a_run_that_goes_wrong_later_is_told_then() -> None:
    told = said(*[HEALTHY] * 10, *[HEALTHY | NOTHING_RIGHT] * 5)
    assert [place for place, sentences in enumerate(told) if sentences] == [12]


def test_what_only_follows_is_not_told_beside_its_cause() -> None:
    *_, told = said(*[{**NOTHING_RIGHT, metrics.TRUNCATED_SHARE: 1.0, NO_ANSWER: 1.0}] * 3)
    assert len(told) == 2, "cut off and unrewarded; no answer and flat groups come of those"


def test_methods_without_a_stream_at_one_hear_nothing() -> None:
    assert not any(said(*[{}] * 5))


def test_the_options_that_are_named_are_there() -> None:
    config = TextRLConfig()
    named = set()
    for trouble in (NOTHING_RIGHT, {NO_ANSWER: 1.0}, {metrics.TRUNCATED_SHARE: 1.0}, {metrics.FLAT_GROUP_SHARE: 1.0}):
        watch = EarlyWarnings(config)
        for text in (text for _ in range(3) for text in watch.observe(HEALTHY | trouble)):
            named |= set(re.findall(r"\b([a-z]+(?:_[a-z]+)+(?:\.[a-z_]+)?)\b", text))
    inside = {name.partition(".")[2] for name in named if name.startswith("env_config.")}
    assert inside == {"template", "answer_form", "verifier", "problems"}
    assert inside - {"problems"} <= set(signature(check_env_arguments).parameters)
    assert "problems" in config.text_env_kwargs()
    outside = {name for name in named if "." not in name}
    assert outside == {"max_new_tokens", "group_size", "model_path"}
    assert all(hasattr(config, name) for name in outside)
