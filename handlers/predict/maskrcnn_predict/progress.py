"""Progress of what takes its time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


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
