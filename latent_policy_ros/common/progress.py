"""Progress bar of trainings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def training_progress(
    console: Console | None, total: int, title: str, completed: int = 0
) -> Iterator[Callable[[str | None], None]]:
    """Show a progress bar.

    Args:
        console: Console to print to; None shows no bar.
        total: Number of steps.
        title: Title of the bar.
        completed: Steps that are already done.

    Yields:
        A function that advances the bar by one step. Its argument is a note to show, or None to keep the last one.
    """
    if console is None:
        yield lambda text: None
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(TextColumn(title), *columns, console=console) as progress:
        task = progress.add_task(title, total=total, completed=completed, note="")

        def advance(note: str | None) -> None:
            if note is not None:
                progress.update(task, note=note)
            progress.advance(task)

        yield advance
