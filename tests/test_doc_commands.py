"""Every command that the documents show is one that there is: names, options, values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from aepo_rllib.cli.main import COMMANDS, cli
from aepo_rllib.study.study import shipped
from tests.support.documents import NEEDS, PAGES, ROOT, blocks, commands, spoken

SHOWN = [
    (page, words)
    for page in PAGES
    for block in blocks(page)
    if block.language in ("bash", "")
    for words in commands(block.text)
]
ARMS = [arm for file in shipped().values() for arm in yaml.safe_load(file.read_text())["arms"]]
"""Of the studies; some are called as a command might be."""

NOT_RUN = {
    "README.md": "a GPU; `make train` and `make test` are what CI runs",
    "benchmarks/README.md": "long, and another environment",
    "docs/cli.md": "shows --help; the commands have tests of their own in tests/cli",
    "docs/court.md": "long: tests/cli has its quick form",
    "docs/embedded-model.md": "long: tests make a small base",
    "docs/evaluation.md": "the hub",
    "docs/extending": "the reader's files: tests/test_extending.py and test_own_methods.py run the examples",
    "docs/forecast.md": "the reader's model",
    "docs/frontier.md": "long",
    "docs/grading.md": "the reader's problems: docs/tutorials/your-reward.md runs",
    "docs/index.md": "the first lines of docs/tutorials/first-hour.md, which run",
    "docs/lora.md": "the hub",
    "docs/quickstart.md": "long: docs/tutorials/first-hour.md runs its quick form",
    "docs/releasing.md": "an account, or a container engine",
    "docs/results.md": "long",
    "docs/scale.md": "the hub",
    "docs/steady.md": "long",
    "docs/study.md": "the reader's file: docs/tutorials/your-method.md runs one",
    "docs/suites.md": "the reader's model",
    "docs/templates.md": "the reader's file: tests/envs/test_own_templates.py",
    "docs/tune.md": "long: docs/tutorials/search.md runs one",
    "docs/vllm.md": "a GPU",
    "docs/watching.md": "an account: tests/cli/test_trackers.py",
}
"""Pages whose blocks are understood (below) and not run, and what they would need. Tutorials run."""


@pytest.fixture
def anything_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    """RUN, MODEL and mine.jsonl stand for what a reader has."""
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: Path(value))
    monkeypatch.setattr(Path, "is_dir", lambda self: True)


def parsed(words: list[str]) -> click.Context:
    """What click makes of a command."""
    group = click.Context(cli, info_name="aepo", **cli.context_settings)
    command = cli.get_command(group, words[0])
    assert command is not None, f"there is no command {words[0]!r}"
    try:
        return command.make_context(words[0], words[1:], parent=group)
    except click.exceptions.Exit:  # --help
        return click.Context(command)


@pytest.mark.usefixtures("anything_exists")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_block_is_understood(page: Path) -> None:
    wrong = []
    for shown_on, words in SHOWN:
        try:
            if shown_on == page:
                parsed(words)
        except (click.ClickException, AssertionError) as error:
            wrong.append(f"aepo {' '.join(words)}: {getattr(error, 'message', error)}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_option_of_a_command_in_a_sentence_is_there(page: Path) -> None:
    wrong = []
    for words in spoken(page.read_text(encoding="utf-8")):
        if any(arm.startswith(f"aepo {' '.join(words)}") for arm in ARMS):
            continue
        group = click.Context(cli, info_name="aepo", **cli.context_settings)
        command = cli.get_command(group, words[0])
        there = {name for each in command.get_params(group) for name in each.opts} if command else set()
        given = {word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)}
        if command is None or given - there - {"-h"}:
            wrong.append(f"aepo {' '.join(words)}")
    assert not wrong, "\n".join(wrong)


def settings() -> Iterator[tuple[str, dict[str, Any]]]:
    """Commands that set config keys, and what click makes of their options."""
    for page, words in SHOWN:
        if {"train_command", "plan_command", "tune_command"} & {COMMANDS[words[0]][0].partition(":")[2]}:
            yield f"{page.relative_to(ROOT)}: aepo {' '.join(words)}", parsed(words).params


def test_every_setting_of_a_command_has_a_key_and_a_value_that_fit(
    monkeypatch: pytest.MonkeyPatch, anything_exists: None
) -> None:
    """Of methods that are the reader's own only what click sees."""
    from aepo_rllib.cli.given import given_values
    from aepo_rllib.cli.settings import unchecked
    from aepo_rllib.envs.text_env import ENV_ID, MathTextEnv
    from aepo_rllib.support.arguments import check_arguments

    every = list(settings())
    monkeypatch.undo()
    monkeypatch.chdir(ROOT)
    wrong = []
    for command, options in every:
        config_file, algo = options.get("config_file"), str(options.get("algo") or "")
        if ":" in algo and not Path(algo.partition(":")[0]).is_file():
            continue
        there = config_file if config_file and config_file.is_file() else None
        try:
            values = given_values({**options, "config_file": there})
            _, config = unchecked(values)
            if config.env == ENV_ID:
                check_arguments("env_config key", config.env_config, MathTextEnv.__init__)
        except ValueError as error:
            wrong.append(f"{command}: {error}")
    assert len(every) > 40
    assert not wrong, "\n".join(wrong)


def test_every_page_with_commands_is_run_or_says_why_not() -> None:
    with_commands = {
        page.relative_to(ROOT) for page in PAGES if any(block.language == "bash" for block in blocks(page))
    }
    for page in with_commands:
        places = {str(page), str(page.parent)}
        assert (page.parent.name == "tutorials") != bool(places & NOT_RUN.keys()), page
    assert all((ROOT / name).exists() for name in NOT_RUN)


def test_every_study_that_is_named_is_there() -> None:
    named = {words[1] for _, words in SHOWN if words[0] == "study" and len(words) > 1}
    assert {name for name in named if not name.startswith("-") and not name.endswith(".yaml")} <= shipped().keys()


def test_a_wrong_option_would_be_seen() -> None:
    wrong = [
        "aepo train --step 3",
        "aepo trian",
        "aepo eval RUN --n many",
        "X=1 aepo tune --space",
        "aepo plan \\\n --gpu 1",
    ]
    for text in wrong:
        [words] = commands(text)
        with pytest.raises((click.ClickException, AssertionError)):
            parsed(words)
    with pytest.raises(ValueError, match="has to be quoted"):
        list(commands("aepo tune --space lr=loguniform(1e-4, 2e-3)"))


def test_a_block_that_is_not_run_says_what_it_needs() -> None:
    """Tutorials run as they stand (tests/test_tutorials.py), but for these."""
    for page in (ROOT / "docs" / "tutorials").glob("*.md"):
        for block in blocks(page):
            assert block.language in ("bash", "python", "yaml"), f"{page}:{block.line}"
            if block.language == "bash" and re.search(r"MODEL|recipe:|HEAD|vllm", block.text):
                assert NEEDS.match(block.text), f"{page}:{block.line} cannot be run as it stands"
