"""`aepo tune`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from aepo_rllib.cli.early import check_early
from aepo_rllib.cli.errors import RunFailed, check_unused, input_errors
from aepo_rllib.cli.given import given_values
from aepo_rllib.cli.options import output_option
from aepo_rllib.cli.saying import say, warn
from aepo_rllib.cli.train import train_command
from aepo_rllib.cli.tune.search import FREE, KEYS, SCHEDULERS, SEARCHES, Search, read_search
from aepo_rllib.support.locks import claimed, write_atomically
from aepo_rllib.support.terminal import visible
from aepo_rllib.support.yaml_input import read_mapping

if TYPE_CHECKING:
    from aepo_rllib.cli.tune.ledger import Ledger
    from aepo_rllib.cli.tune.plan import Plan
    from aepo_rllib.cli.tune.proposals import Proposals

FILE = "search.yaml"
"""In a search's folder: what is searched for; `aepo tune` reads it."""
PLAIN_WIDTH = 160
"""Columns of a table that goes to a file."""
FROM_TRAIN = (
    "algo",
    "model_path",
    "problems",
    "template",
    "target_entropy",
    "steps",
    "batch_size",
    "group_size",
    "num_env_runners",
    "num_learners",
    "engine",
    "seed",
    "config_file",
    "assignments",
)
"""Options of `aepo train` that say what every trial starts from."""


@click.command("tune")
@click.argument("file", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--space",
    "distributions",
    multiple=True,
    metavar="KEY=DISTRIBUTION",
    help="A config key and where its values come from: uniform(LOW, HIGH), loguniform(LOW, HIGH), quniform(LOW, HIGH, "
    "STEP), randint(LOW, HIGH), choice(VALUE, ...), grid(VALUE, ...), as in ray.tune. May be repeated.",
)
@click.option(
    "--metric",
    metavar="NAME",
    help="evaluation/pass@1, tracking_error, pass@K after the end, or any metric of docs/metrics.md.  [default: "
    "evaluation/pass@1]",
)
@click.option("--mode", type=click.Choice(["max", "min"]), help="Which way is better.  [default: the metric's own]")
@click.option("--window", type=int, metavar="N", help="Steps of which the metric's mean is taken.  [default: 20]")
@click.option("--scheduler", type=click.Choice(list(SCHEDULERS)), help="Who ends trials early.  [default: none]")
@click.option("--search", type=click.Choice(list(SEARCHES)), help="Where values come from.  [default: random]")
@click.option("--samples", type=int, metavar="N", help="Trials; of `grid(...)` for each combination.  [default: 8]")
@click.option("--grace-period", type=int, metavar="N", help="Of asha: first rung.  [default: an eighth of the steps]")
@click.option("--reduction-factor", type=int, metavar="N", help="Of asha: one in N goes on.  [default: 4]")
@click.option(
    "--perturbation-interval", type=int, metavar="N", help="Of pbt: steps of a generation.  [default: a quarter]"
)
@click.option(
    "--baseline",
    is_flag=True,
    default=None,
    help="Train the settings themselves, too, and compare with the best trial on the test split.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    metavar="N",
    help="Trials at a time, one thread each; no more than there are CPUs.",
)
@output_option("Folder of the trials and results.  [default: runs/tune-NAME, of a file]")
@click.option("--dry-run", is_flag=True, help="Check everything, print the trials that are known, and stop.")
def tune_command(
    file: Path | None, output: Path | None, jobs: int, dry_run: bool, distributions: tuple[str, ...], **options: Any
) -> None:
    """Search over settings with Ray Tune: trials side by side, the best one's model, a table and a plot.

    What every trial starts from is said as for `aepo train`; FILE says all of it in YAML, docs/tune.md.

    Every trial is a run folder as `aepo train` makes it. After Ctrl-C, a kill or a crash the same command goes on:
    trials that have ended are left alone, begun ones go on from their checkpoints.

    \b
    Examples:
      aepo tune --space "lr=loguniform(1e-4, 2e-3)" --space "target_entropy=choice(0.5x, 0.75x)" -o runs/t
      aepo tune --space "alpha=loguniform(0.3, 3)" --scheduler asha --samples 12 --steps 200 -o runs/a
      aepo tune search.yaml --jobs 4 --baseline
    """
    with input_errors(), contextlib.ExitStack() as claims:
        search, places = read_search(file, _over(distributions, options))
        root = _root(file, output)
        if not dry_run:
            _check_same(search, root)
        with places.within("settings"):
            check_early(search.settings)
        say("loading torch and ray ...")
        _load_quietly()
        from aepo_rllib.cli.tune.plan import plan

        planned = plan(search, places, root)
        if dry_run:
            _show(search, planned)
            return
        root.mkdir(parents=True, exist_ok=True)
        claims.enter_context(claimed(root))
        _check_same(search, root)  # again: another process may have been faster
        write_atomically(root / FILE, yaml.safe_dump(search.plain(), sort_keys=False, allow_unicode=True))
        ledger = _search(search, planned, jobs)
        best = _report(search, planned, ledger)
    _end(ledger, best)


_OF_TRAIN = {parameter.name: parameter for parameter in train_command.params}
tune_command.params += [_OF_TRAIN[name] for name in FROM_TRAIN]


def _load_quietly() -> None:
    """Load what takes seconds; Ray configures its loggers then, so voices are lowered before and after."""
    from aepo_rllib.cli.quiet import quiet_libraries

    quiet_libraries()
    import ray  # noqa: F401

    quiet_libraries()


def _over(distributions: tuple[str, ...], options: Mapping[str, Any]) -> dict[str, Any]:
    """What the command line says, as a search's file would."""
    space = {}
    for text in distributions:
        key, equals, distribution = (part.strip() for part in text.partition("="))
        if not equals or not key:
            raise ValueError(f"--space {text!r}: expected KEY=DISTRIBUTION")
        if key in space:
            raise ValueError(f"--space {text!r}: {key} is given twice")
        space[key] = distribution
    given = {
        key: value for key, value in options.items() if key in KEYS and key not in FROM_TRAIN and value is not None
    }
    settings = given_values({name: options[name] for name in FROM_TRAIN})
    return given | ({"space": space} if space else {}) | ({"settings": settings} if settings else {})


def _root(file: Path | None, output: Path | None) -> Path:
    if output is None and file is None:
        raise ValueError("--output: name a folder, which the same command goes on with after a kill")
    return output or Path("runs") / f"tune-{file.stem if file else ''}"


def _check_same(search: Search, root: Path) -> None:
    """Refuse to go on with another search; only more trials are one and the same.

    Raises:
        ValueError: the folder holds another search, or something else; names the key.
    """
    if not (root / FILE).is_file():
        check_unused(root, "it holds no search; choose another --output")
        return
    stored = read_mapping(root / FILE)
    held, now = _flat(stored), _flat(search.plain())
    free = FREE - ({"samples"} if search.scheduler == "pbt" else set())  # of a population they say what becomes of it
    changed = [key for key in {**held, **now} if key not in free and held.get(key) != now.get(key)]
    for key in changed:
        raise ValueError(
            f"{root} holds a search with {key}={held.get(key)!r}, and now it is {now.get(key)!r}; take the old one to "
            "go on with it, or another --output"
        )
    if isinstance(stored.get("samples"), int) and search.samples < stored["samples"]:
        raise ValueError(f"{root} holds a search of {stored['samples']} samples, and now there are {search.samples}")


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a search and, of those that are mappings, theirs."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= (
            {f"{key}.{inner}": each for inner, each in value.items()} if isinstance(value, Mapping) else {key: value}
        )
    return flat


def _show(search: Search, planned: Plan) -> None:
    """Print what every trial starts from, when it is looked at, and the trials that are known beforehand."""
    from aepo_rllib.cli.tune.starting import known_trials

    told = search.plain() | {"settings": dict(planned.settings), "looks": list(planned.looks)}
    told["trials"] = known_trials(search, planned)
    click.echo(yaml.safe_dump(told, sort_keys=False, allow_unicode=True), nl=False)


def _search(search: Search, planned: Plan, jobs: int) -> Ledger:
    """Run what is left."""
    from aepo_rllib.cli.tune.starting import begin

    ledger, proposals, total = begin(search, planned)
    ended = len(ledger.trials) - len(ledger.left())
    say(f"{ended} of {total} trials have ended before; their folders: {visible(ledger.root)}")
    if not proposals.over:
        _run(search, planned, ledger, proposals, total, jobs)
    return ledger


def _run(search: Search, planned: Plan, ledger: Ledger, proposals: Proposals, total: int, jobs: int) -> None:
    from aepo_rllib.cli.tune.running import run_jobs
    from aepo_rllib.cli.tune.showing import Shown

    with Shown(planned, ledger, total):
        run_jobs(search, planned, ledger, proposals, jobs)


def _report(search: Search, planned: Plan, ledger: Ledger) -> str | None:
    """Write tables, the plot and the best model, and print the table.

    Returns:
        The best trial; None where none has ended.
    """
    from rich.console import Console

    from aepo_rllib.cli.tune import figure, results
    from aepo_rllib.cli.tune.result_table import as_table, comparison

    found = results.rows(planned, ledger)
    best = results.best_of(found)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=PLAIN_WIDTH)
    console.print(as_table(planned, found))
    results.write_tables(planned, ledger, found)
    figure.draw(search.space, search.metric, found, best, ledger.root / f"{results.TABLE}.png")
    if best is not None:
        results.export_best(ledger, best)
        if tested := results.test_scores(planned, ledger, best):
            results.write_tables(planned, ledger, found, tested)
            console.print(comparison(tested, best))
    return best


def _end(ledger: Ledger, best: str | None) -> None:
    """Say where things are and what is left, and end with 1 where something is."""
    root = visible(ledger.root)
    for name, why in ledger.failures.items():
        warn(visible(f"{name}: {why}"))
    if best is not None:
        click.echo(f"best: {best}, its model and settings: {root}/best; all trials: {root}/trials.csv, trials.png")
        click.echo(f"next: aepo eval {root}/best, or aepo train --config {root}/best/config.yaml")
    if left := ledger.left():
        raise RunFailed(
            f"{len(left)} of {len(ledger.trials)} trials have not ended; the same command goes on with them"
        )
