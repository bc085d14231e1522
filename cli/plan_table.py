"""How a plan is shown: a table, and in plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from aepo_rllib.planning.plan import Gpu, Plan
    from aepo_rllib.planning.proposals import Proposal


def show(plan: Plan, proposal: Proposal, model: str, spread: Mapping[str, Any], *, stderr: bool = False) -> None:
    """Print the table of a plan, and what it comes to.

    Args:
        plan, proposal: What is shown.
        model: Its name.
        spread: Options that the plan has added to use all GPUs.
        stderr: Where it goes.
    """
    console = Console(highlight=False, markup=False, soft_wrap=True, stderr=stderr)
    console.print(table(plan, model))
    for line in verdict(plan, proposal, spread):
        console.print(line)


def table(plan: Plan, model: str) -> Table:
    """GB by kind, a column for all GPUs that hold the same."""
    from aepo_rllib.planning.plan import gigabytes

    columns = list(_columns(plan))
    machine = plan.machine
    cards = f"{machine.gpus} x {gigabytes(machine.gpu_memory)} GB" if machine.gpus else "the CPU"
    title = f"{model}: {plan.shape.parameters:,} parameters, {plan.settings.dtype}, on {cards}"
    shown = Table(title=title, title_justify="left")
    shown.add_column("GB")
    for head, _, _ in columns:
        shown.add_column(head, justify="right")
    kinds = dict.fromkeys(kind for _, parts, _ in columns for kind in parts)
    for kind in kinds:
        shown.add_row(kind, *(gigabytes(parts[kind]) if kind in parts else "" for _, parts, _ in columns))
    shown.add_section()
    shown.add_row("sum", *(gigabytes(sum(parts.values())) for _, parts, _ in columns))
    shown.add_row("of", *("" if limit is None else gigabytes(limit) for _, _, limit in columns))
    return shown


def verdict(plan: Plan, proposal: Proposal, spread: Mapping[str, Any]) -> list[str]:
    """What the table comes to, in a few lines."""
    from aepo_rllib.planning.plan import gigabytes
    from aepo_rllib.planning.proposals import typed

    settings, lines = plan.settings, []
    if spread:
        lines.append(f"no GPU was asked for; planned with {typed(dict(spread))}")
    row = settings.prompt_tokens + settings.max_new_tokens
    tokens = plan.engine.cached_tokens
    lines += [
        f"a pass: {settings.rows_of_pass()} completions of {settings.max_new_tokens} tokens, prompts of "
        f"{settings.prompt_tokens}, activations {'recomputed' if settings.checkpoint_activations else 'kept'}",
        f"an engine's cache: {tokens:,} tokens, {tokens // row} completions at a time",
        f"checkpoints: {gigabytes(plan.disk)} GB of disk for {settings.checkpoints}, one being written",
    ]
    lines += ["it fits"] if plan.fits else [f"does not fit: {complaint}" for complaint in plan.complaints]
    if not plan.fits:
        lines.append(f"it would with: {proposal.words()}" if proposal.changes else proposal.words())
    return lines


def as_record(plan: Plan, proposal: Proposal, spread: Mapping[str, Any]) -> dict[str, Any]:
    """The plan in plain values; sizes in bytes."""
    return {
        "fits": plan.fits,
        "complaints": plan.complaints,
        "proposal": proposal.words(),
        "parameters": plan.shape.parameters,
        "checkpoint_activations": bool(plan.settings.checkpoint_activations),
        "spread": dict(spread),
        "machine": vars(plan.machine),
        "gpus": [{"learning": gpu.learning, "sampling": gpu.sampling, "peak": gpu.peak} for gpu in plan.gpus],
        "engine_cache_tokens": plan.engine.cached_tokens,
        "host": plan.host,
        "disk": plan.disk,
    }


def _columns(plan: Plan) -> Iterator[tuple[str, Mapping[str, int], int | None]]:
    """Head, bytes by kind and limit of every column."""
    alike: dict[str, list[int]] = {}
    for place, gpu in enumerate(plan.gpus):
        alike.setdefault(_who(gpu), []).append(place)
    for who, places in alike.items():
        gpu = plan.gpus[places[0]]
        head = f"GPU {_ranges(places)}\n{who}"
        turns = gpu.learning != gpu.sampling
        yield f"{head},\nlearning" if turns else head, gpu.learning, plan.machine.gpu_memory
        if turns:
            yield f"{head},\nsampling", gpu.sampling, plan.machine.gpu_memory
    yield "host,\neach node" if plan.machine.nodes > 1 else "host", plan.host, plan.machine.host_memory


def _who(gpu: Gpu) -> str:
    kinds = Counter(actor.kind for actor in gpu.actors)
    return " + ".join(kind if count == 1 else f"{count} {kind}s" for kind, count in sorted(kinds.items()))


def _ranges(places: list[int]) -> str:
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
