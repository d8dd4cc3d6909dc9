"""What several commands show."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from maskrcnn_server.plugins import Plugins
from maskrcnn_server.store import downloads


def report_broken(console: Console, plugins: Plugins) -> None:
    """Say which plugins are broken, and why."""
    for broken in plugins.broken:
        console.print(f"[red]broken:[/] {escape(str(broken))}")


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
