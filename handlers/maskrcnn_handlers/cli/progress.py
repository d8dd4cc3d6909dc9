"""Progress of what takes its time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from maskrcnn_server.store import downloads


@contextmanager
def downloading(console: Console) -> Iterator[downloads.Progress]:
    """Shows a bar for each file while it comes, and nothing if none does."""
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        tasks = {}

        def progress(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done)

        yield progress


@contextmanager
def waiting(console: Console) -> Iterator[Callable[[str], None]]:
    """Prints what is done or waited for; on a terminal, with a clock next to the last of it."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as clock:
        task = clock.add_task("")

        def say(what: str) -> None:
            console.print(escape(what))
            clock.reset(task, description=escape(what))

        yield say


@contextmanager
def working(console: Console, what: str) -> Iterator[None]:
    """Shows a clock while one thing takes its time, and nothing where nobody watches."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as clock:
        clock.add_task(escape(what), total=None)
        yield


@contextmanager
def counting(console: Console, what: str, total: int | None) -> Iterator[Callable[[], None]]:
    """Shows how many are done, each time that what it gives is called, and how long it takes."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    clocks = TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, *clocks, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
