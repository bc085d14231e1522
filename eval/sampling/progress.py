"""A bar that counts samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def sample_progress(total: int, *, disabled: bool = False, label: str = "sampling") -> Iterator[Callable[[int], None]]:
    """Show a bar during a block; silent where nobody watches. The value is to be called with what was done."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("samples"),
        TimeRemainingColumn(),
    )
    off = disabled or not console.is_terminal
    with Progress(*columns, console=console, disable=off, transient=True) as progress:
        bar = progress.add_task(label, total=total)
        yield lambda done: progress.advance(bar, done)
