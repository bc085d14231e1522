"""`aepo doctor --entropy`: a forecast in a table and sentences, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from aepo_rllib.cli.errors import input_errors
from aepo_rllib.cli.quiet import quiet_libraries
from aepo_rllib.cli.saying import say
from aepo_rllib.cli.settings import parse_assignments, unchecked

if TYPE_CHECKING:
    from rich.console import Console

    from aepo_rllib.algorithms.aepo import AEPOConfig
    from aepo_rllib.doctor.forecast import Forecast, Interval
    from aepo_rllib.doctor.levels import Sampled

COUNT, SAMPLES = 64, 8
SHOWN_TOKENS = 12
RATE = 1e3
"""Rates are shown in thousandths: nats per token and unit step of a state's logits."""


def show_forecast(
    *,
    count: int | None,
    samples: int | None,
    seed: int | None,
    assignments: Sequence[str],
    as_json: bool,
    **settings: Any,
) -> None:
    """Sample, forecast, print; exits with 1 where there is a risk."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, stderr=as_json)
    say("loading torch and ray ...")
    import ray  # noqa: F401 - configures its loggers on import

    quiet_libraries()
    import torch

    torch.set_num_threads(1)
    from aepo_rllib.doctor.advice import as_record, risks
    from aepo_rllib.doctor.forecast import forecast
    from aepo_rllib.doctor.levels import sample_levels

    with input_errors(), console.status("sampling ...") as status:
        config = _config(settings, samples or SAMPLES, assignments)
        sampled = sample_levels(
            config,
            count=count or COUNT,
            seed=seed or 0,
            on_level=lambda tau: status.update(f"sampling at temperature {tau:g} ..."),
        )
    found = forecast(sampled.levels, alpha=config.alpha, seed=seed or 0)
    if as_json:
        click.echo(json.dumps(as_record(found, sampled, config), indent=2))
    else:
        _show(console, found, sampled, config)
    if risks(found, sampled):
        raise SystemExit(1)


def _config(settings: dict[str, Any], samples: int, assignments: Sequence[str]) -> AEPOConfig:
    """AEPO with these settings.

    Raises:
        ValueError: an unknown option, or a value that does not fit.
    """
    from aepo_rllib.algorithms.aepo import AEPOConfig

    values = {"model_path": settings["model"], "dtype": settings["dtype"], "group_size": samples}
    values |= {"max_new_tokens": settings["max_new_tokens"], "evaluation_interval": None}
    values["env_config"] = {"problems": settings["problems"], "template": settings["template"]}
    _, config = unchecked({"algo": "aepo", **values, **parse_assignments(assignments)})
    assert isinstance(config, AEPOConfig)
    return config


def _show(console: Console, found: Forecast, sampled: Sampled, config: AEPOConfig) -> None:
    from rich.table import Table

    from aepo_rllib.doctor.advice import advice, risks

    table = Table(title=f"{config.model_path}, {config.dtype}", title_justify="left")
    for column in ("base model", "figure", "95 % interval"):
        table.add_column(column, justify="left" if column == "base model" else "right")
    for row in _rows(found, sampled, config):
        table.add_row(*row)
    console.print(table)
    console.print(_levels(found, sampled))
    console.print("rates: thousandths of a nat per token and unit step; only their signs and order count", style="dim")
    for sentence in advice(found, config):
        console.print(f"- {sentence}")
    for sentence in risks(found, sampled):
        console.print(f"RISK: {sentence}", style="bold")


def _rows(found: Forecast, sampled: Sampled, config: AEPOConfig) -> Iterator[tuple[str, str, str]]:
    from aepo_rllib.doctor.advice import content_tokens

    def figure(name: str, of: Interval, scale: float = 1.0, style: str = ".3f") -> tuple[str, str, str]:
        low, high = of.low * scale, of.high * scale
        return name, f"{of.value * scale:{style}}", f"{low:{style}} to {high:{style}}"

    yield figure("entropy, nats per token", found.entropy)
    yield figure("pull of GRPO", found.grpo, RATE, "+.2f")
    yield figure(f"with the tempered term, T {config.temperature_high:g}", found.hot, RATE, "+.2f")
    yield figure(f"with the tempered term, T {config.temperature_low:g}", found.cold, RATE, "+.2f")
    yield figure("highest entropy held", found.highest)
    yield figure("lowest entropy held", found.lowest)
    yield "correct completions", f"{sampled.correct:.1%}", ""
    yield "tokens of a completion", f"{sampled.length:.1f}", ""
    yield "entropy on tokens that success depends on, at least", f"{sampled.kinds.content_share:.0%}", ""
    if tokens := content_tokens(sampled)[:SHOWN_TOKENS]:
        yield "these", " ".join(repr(name) for name, _ in tokens), ""


def _levels(found: Forecast, sampled: Sampled) -> Any:
    from rich.table import Table

    table = Table(title="at other temperatures, as a stand-in for what training makes of it", title_justify="left")
    for column in ("temperature", "entropy", "of base", "GRPO", "hot", "cold"):
        table.add_column(column, justify="right")
    for level, entropy, *rates in zip(sampled.levels, *found.rates, strict=True):
        share = f"{entropy / found.entropy.value:.2f}x"
        table.add_row(f"{level.tau:g}", f"{entropy:.3f}", share, *(f"{rate * RATE:+.2f}" for rate in rates))
    return table
