"""Prints what several commands show."""

from rich.console import Console
from rich.markup import escape

from maskrcnn_server.plugins import Plugins


def report_broken(console: Console, plugins: Plugins) -> None:
    """Say which plugins are broken, and why."""
    for broken in plugins.broken:
        console.print(f"[red]broken:[/] {escape(str(broken))}")
