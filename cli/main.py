"""The `aepo` command group. It loads a subcommand's module only when that subcommand is asked for."""

from __future__ import annotations

import copy
import os
import sys
from importlib import import_module

import click

from aepo_rllib._version import __version__
from aepo_rllib.cli.saying import loudness_options
from aepo_rllib.support.arguments import did_you_mean

COMMANDS = {
    "train": ("aepo_rllib.cli.train:train_command", "Train a language model on verifiable maths."),
    "plan": ("aepo_rllib.cli.plan:plan_command", "Tell whether a run fits a machine, and what would make it fit."),
    "eval": ("aepo_rllib.cli.eval:eval_command", "Measure pass@k of a model or run through lm-eval."),
    "compare": ("aepo_rllib.cli.compare:compare_command", "Compare evaluations, paired by problem."),
    "plot": ("aepo_rllib.cli.plot:plot_command", "Draw the training curves of several runs over one another."),
    "regrade": ("aepo_rllib.cli.regrade:regrade_command", "Judge stored samples again, without sampling."),
    "study": ("aepo_rllib.cli.study.command:study_command", "Compare methods side by side, with seeds and tables."),
    "court": ("aepo_rllib.cli.study.command:court_command", "All methods and entropy controllers side by side."),
    "tune": ("aepo_rllib.cli.tune.command:tune_command", "Search over settings with Ray Tune."),
    "tasks": ("aepo_rllib.cli.tasks:tasks_command", "List the lm-eval suites, or print their folder."),
    "problems": ("aepo_rllib.cli.problems:problems_command", "Look at a problem set before training on it."),
    "methods": ("aepo_rllib.cli.methods:methods_command", "List the methods, or show one with its options."),
    "doctor": ("aepo_rllib.cli.doctor:doctor_command", "Check that a model trains here as the method assumes."),
    "export": ("aepo_rllib.cli.export:export_command", "Copy the Hugging Face directory out of a run."),
    "pretrain": ("aepo_rllib.cli.pretrain:pretrain_command", "Rebuild the embedded model from nothing."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on use: `aepo --help` loads neither torch nor ray."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of a user's way through them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = copy.copy(getattr(import_module(module), attribute))
        command.params = [*command.params, *loudness_options()]  # a copy's: some commands take over those of others
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, and where there is no such command, with the nearest ones."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no such command {args[0]!r}{did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110, "auto_envvar_prefix": "AEPO"}


@click.group(cls=LazyGroup, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="aepo")
def cli() -> None:
    """Fine-tune language models on verifiable maths with their entropy under control.

    \b
    aepo train                               train the embedded model on embedded problems
    aepo train --target-entropy 0.75x        hold entropy at three quarters of the base model's
    aepo train --model Qwen/Qwen2.5-Math-7B --problems BytedTsinghua-SIA/DAPO-Math-17k
    aepo eval RUN --n 256                    pass@k of what came out

    Every option can be given as an environment variable, too: AEPO_TRAIN_BATCH_SIZE=32 is `aepo train --batch-size 32`.
    """
    # Where users keep modules that they name as module:function; last, so that it hides nothing that is installed.
    sys.path.append(os.getcwd())


if __name__ == "__main__":
    cli()
