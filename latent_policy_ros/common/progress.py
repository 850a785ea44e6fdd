"""One progress bar for all trainings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def progress_bar(console: Console | None, total: int, title: str, completed: int = 0) -> Iterator[Callable[[str | None], None]]:
    """A bar of ``total`` steps on ``console`` (none if that is None); yields a function that counts one step done.

    Its argument is a line on how it goes, or None to leave the last one.
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
            progress.update(task, advance=1, **({} if note is None else {"note": note}))

        yield advance
