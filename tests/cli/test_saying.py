"""`-q` and `-v`."""

import logging

import click
import pytest
from click.testing import CliRunner

from aepo_rllib.cli.errors import InputError
from aepo_rllib.cli.main import COMMANDS, cli
from aepo_rllib.cli.saying import QUIET, USUAL, VERBOSE, loudness, loudness_options, say, warn


@click.command(params=loudness_options())
@click.option("--fail", is_flag=True)
def command(fail):
    say("a note")
    warn("a warning")
    click.echo(f"a result {loudness()}")
    if fail:
        try:
            raise OSError("the cause \x1b[2J")
        except OSError as error:
            raise InputError("what went wrong") from error


@pytest.mark.parametrize(
    ("options", "loud", "said"),
    [
        ([], USUAL, ["a note", "a warning"]),
        (["-q"], QUIET, ["a warning"]),
        (["--quiet"], QUIET, ["a warning"]),
        (["-v"], VERBOSE, ["a note", "a warning"]),
    ],
)
def test_results_are_always_shown_and_notes_as_asked(options, loud, said):
    result = CliRunner().invoke(command, options)
    assert (result.exit_code, result.stdout) == (0, f"a result {loud}\n")
    assert result.stderr.splitlines() == said
    assert loudness() == USUAL  # outside


@pytest.mark.parametrize(("options", "traced"), [([], False), (["-q"], False), (["-v"], True)])
def test_an_error_is_a_line_and_with_v_its_traceback_too(options, traced):
    result = CliRunner().invoke(command, ["--fail", *options])
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == "Error: what went wrong"
    assert ("Traceback" in result.stderr) == traced
    assert ("the cause" in result.stderr) == traced
    assert "\x1b" not in result.stderr


def test_both_are_too_many():
    result = CliRunner().invoke(command, ["-q", "-v"])
    assert result.exit_code == 2
    assert "choose one" in result.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_both_once(name):
    for _ in range(2):
        loaded = cli.get_command(click.Context(cli), name)
    flags = [flag for parameter in loaded.params for flag in parameter.opts]
    assert [flags.count(flag) for flag in ("-q", "--quiet", "-v", "--verbose")] == [1, 1, 1, 1]
    # Behind the command's own, though some commands take over another's, whichever has been asked for first.
    assert [parameter.name for parameter in loaded.params[-2:]] == ["quiet", "verbose"]


def test_warnings_of_a_quiet_run_are_shown_on_standard_error(tmp_path, capsys, monkeypatch):
    from rich.console import Console

    from aepo_rllib.cli.kept_warnings import kept_warnings
    from aepo_rllib.cli.run_folder import RunFolder

    logger = logging.getLogger("aepo_rllib")
    monkeypatch.setattr(logger, "propagate", False)  # pytest's own handlers count as somebody who shows them
    with RunFolder.create(tmp_path / "run", {}) as folder, kept_warnings(folder, Console(quiet=True)):
        logger.warning("mind the [gap]")
    assert "mind the [gap]" in capsys.readouterr().err
