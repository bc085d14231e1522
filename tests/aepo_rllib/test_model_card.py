"""The card of an exported model is what a hub reads, and nothing that stood in a file becomes markup in it.

Cards are read back by huggingface_hub and by a Markdown parser, neither of which is ours.
"""

from __future__ import annotations

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from aepo_rllib.models.model_card import Course, Evaluated, Score, code, model_card

INFO = {
    "algorithm": "AEPO",
    "step": 200,
    "base_entropy": 0.8812,
    "template": "boxed",
    "model": "Qwen/Qwen2.5-0.5B",
    "problems": "openai/gsm8k:main",
    "target_entropy": "0.5x",
    "base_model": "Qwen/Qwen2.5-0.5B",
    "license": "apache-2.0",
    "datasets": ["openai/gsm8k"],
    "versions": {"aepo-rllib": "0.1.0"},
    "config": {"algo": "aepo", "lr": 1e-06, "env_config": {"problems": "openai/gsm8k:main"}},
}
HEADINGS = ["A language model trained by reinforcement learning", "Training", "Settings", "Use", "Versions"]
HOSTILE = [
    "</code><script>alert(1)</script>",
    "a | b\n| c",
    "``` \n# Buy here\n![x](http://x.example/x.png)",
    "`` ` ```` [click](http://x.example)",
    "---\nlicense: mit\n---",
    "\x1b[2J\u202e\ud800",
    "&lt;b&gt; *x* **y** ~~~",
    "",
    " ",
    "\\`",
    "`",
]


def parsed(card: str) -> list:
    """All tokens of a card's text, those within lines included."""
    body = ModelCard(card, ignore_metadata_errors=False).text
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    return [part for token in tokens for part in (token, *(token.children or []))]


def headings(card: str) -> list[str]:
    tokens = parsed(card)
    return [tokens[place + 1].content for place, token in enumerate(tokens) if token.type == "heading_open"]


def test_a_hub_reads_the_front_matter() -> None:
    data = ModelCard(model_card(INFO)).data.to_dict()
    assert data.pop("tags")
    assert data == {
        "base_model": "Qwen/Qwen2.5-0.5B",
        "license": "apache-2.0",
        "datasets": ["openai/gsm8k"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
    }
    unknown = ModelCard(model_card({})).data.to_dict()
    assert not {"base_model", "license", "datasets"} & set(unknown)


def test_the_settings_are_a_file_that_trains_again() -> None:
    [settings] = [token.content for token in parsed(model_card(INFO)) if token.info == "yaml"]
    assert yaml.safe_load(settings) == {**INFO["config"], "steps": 200}
    assert headings(model_card(INFO)) == HEADINGS


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_outside_is_text_and_changes_nothing_around_it(text: str) -> None:
    info = dict.fromkeys(INFO, text) | {
        "datasets": [text, "good/name"],
        "versions": {text: text},
        "config": {text: text, "target_entropy": text, "env_config": {"problems": text, "x": [text]}},
        "step": 3,
    }
    score = Score(text, 10, 4, {1: (0.5, (0.25, 0.75))})
    course = Course(["first step", "last step"], [("reward", text, text)], [])
    card = model_card(info, course=course, evaluated=Evaluated([score], {"template": text}))
    tokens = parsed(card)
    kinds = {token.type for token in tokens}
    assert not kinds & {"html_inline", "html_block", "link_open", "image"}
    assert headings(card) == [*HEADINGS[:2], "Scores", *HEADINGS[2:]]
    rows = [sum(t.type == "td_open" for t in row) for row in _rows(tokens)]
    assert set(rows) <= {0, 2, 3, 4}
    assert len([token for token in tokens if token.type == "fence"]) == 2
    data = ModelCard(card).data.to_dict()
    assert data["datasets"] == ["good/name"]
    assert "base_model" not in data
    assert not any(character in card for character in "\x1b\u202e\ud800")


def _rows(tokens: list) -> list[list]:
    """The tokens of every row of a table."""
    starts = [place for place, token in enumerate(tokens) if token.type == "tr_open"]
    ends = [place for place, token in enumerate(tokens) if token.type == "tr_close"]
    return [tokens[start:end] for start, end in zip(starts, ends, strict=True)]


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.strip() and text.isprintable() and "|" not in text])
def test_code_shows_the_text_as_it_is(text: str) -> None:
    [code_] = [token for token in parsed(f"---\na: b\n---\nx {code(text)} y") if token.type == "code_inline"]
    assert code_.content.strip() == text.strip()


def test_scores_stand_with_their_intervals_and_no_more_than_five_values_of_k() -> None:
    points = {2**i: (0.25 + i / 100, (0.2, 0.5)) for i in range(11)} | {4: (0.27, None)}
    card = model_card(INFO, evaluated=Evaluated([Score("aepo_arithmetic", 96, 1024, points)], {"temperature": 1.0}))
    [head] = [line for line in card.splitlines() if line.startswith("| suite")]
    assert [part.strip() for part in head.split("|") if "pass@" in part] == [f"pass@{k}" for k in (1, 4, 32, 256, 1024)]
    assert "| `aepo_arithmetic` | 96 | 1024 | 25.0 [20.0, 50.0] | 27.0 |" in card


@pytest.mark.parametrize("value", [None, [], 3, "x", float("nan"), {"a": [None]}])
def test_what_is_not_what_it_should_be_is_left_out(value: object) -> None:
    assert headings(model_card(dict.fromkeys(INFO, value)))[0] == HEADINGS[0]
