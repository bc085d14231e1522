"""What `aepo eval` says besides scores: warnings with a cure, the first prompt, how far it is, before and meanwhile."""

import io
import itertools

import pytest
from rich.console import Console

from aepo_rllib.cli.eval import eval_command
from aepo_rllib.envs.prompts import TEMPLATES
from aepo_rllib.eval.reports.advice import advice, unused_chat_template
from aepo_rllib.eval.reports.prompt_excerpt import prompt_excerpt
from aepo_rllib.eval.run import evaluate_model
from aepo_rllib.eval.sampling.progress import sample_progress

SUITE = "aepo_arithmetic"
OPTIONS = {flag for option in eval_command.params for flag in option.opts}


def scores(**values):
    return {"suites": {SUITE: {"avg@n": 0.3, "truncated": 0.1, "no_answer": 0.1, "max_gen_toks": 64} | values}}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, []),
        ({"truncated": None}, []),
        ({"avg@n": None}, []),
        ({"truncated": 0.6, "no_answer": 0.6}, ["60 % of the samples were cut off at the limit of 64 tokens"]),
        ({"truncated": 0.6, "no_answer": 0.9}, ["60 % of the samples were cut", "90 % of the samples hold no answer"]),
        ({"no_answer": 0.9, "avg@n": 0.0}, ["90 % of the samples hold no answer", "is correct for that reason"]),
        ({"avg@n": 0.0}, ["no sample of any problem is correct, though they hold answers"]),
    ],
)
def test_a_warning_names_cause_and_cure(values, said):
    found = advice(scores(**values))
    assert len(found) == len(said)
    for text, expected in zip(found, said, strict=True):
        assert text.startswith(f"{SUITE}: ")
        assert expected in text
    named = {word.strip("(),.?") for text in found for word in text.split() if word.startswith("--")}
    assert named <= OPTIONS


def test_samples_of_six_tokens_are_warned_of():
    found = advice(evaluate_model(n=2, limit=4, max_new_tokens=6))
    assert any("cut off at the limit of 6 tokens" in text for text in found)
    assert not advice(evaluate_model(n=4, limit=8))


def test_a_chat_template_that_is_not_used_is_warned_of():
    assert unused_chat_template("boxed", None) is None
    assert "--template boxed does not use it" in unused_chat_template("boxed", "{{ messages }}")
    assert "the suite's own prompt does not use it" in unused_chat_template(None, "{{ messages }}")
    using = [name for name in TEMPLATES if unused_chat_template(name, "{{ messages }}") is None]
    assert {"chat", "qwen-boxed"} <= set(using)
    assert "boxed" not in using


def test_of_a_long_prompt_both_ends_are_shown():
    head, tail = "<|im_start|>system\nBe careful.", "<|im_end|>\n<|im_start|>assistant\n"
    prompt = head + "x" * 5000 + tail
    shown = prompt_excerpt(prompt, "out/passk.json")
    assert shown.startswith(repr(head)[:-1])
    assert shown.endswith(repr(tail)[1:])
    assert "all of it stands in out/passk.json" in shown
    dropped = int(shown.split("... ")[1].split()[0].replace(",", ""))
    assert shown.count("x") + dropped == 5000
    assert prompt_excerpt(head, "") == repr(head)


def test_without_a_terminal_a_line_says_now_and_then_how_far_it_is():
    console, now = Console(file=io.StringIO()), 100.0
    with sample_progress(1000, console=console, clock=lambda: now) as progress:
        progress(200)
        for _ in range(8):
            now += 4
            progress(100)
    lines = console.file.getvalue().splitlines()
    assert lines == [
        "sampling: 200 of 1,000 samples are there already",
        "sampling: 500 of 1,000 samples (50%), about 0:20 left",
        "sampling: 800 of 1,000 samples (80%), about 0:08 left",
        "sampling: 1,000 of 1,000 samples, in 0:32",
    ]


def test_what_is_quick_or_not_to_be_shown_says_nothing():
    for disabled, seconds in ((False, 0.9), (True, 90)):
        console, clock = Console(file=io.StringIO()), itertools.count(step=seconds)
        with sample_progress(10, console=console, clock=lambda clock=clock: next(clock), disabled=disabled) as progress:
            for done in (0, *[1] * 10):
                progress(done)
        assert not console.file.getvalue()
