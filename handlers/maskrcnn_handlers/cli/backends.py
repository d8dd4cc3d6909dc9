"""`maskrcnn-server backends`"""

import typer
from rich.console import Console
from rich.table import Table

from maskrcnn_handlers.cli.showing import report_broken
from maskrcnn_server.plugins import installed


def backends() -> None:
    """List the installed plugins, what they bring, and those that are broken (exit code 1)."""
    console = Console(soft_wrap=True)
    plugins = installed()
    registered = plugins.backends()
    engines = plugins.engines()
    formats = plugins.formats()
    table = Table(title="plugins", title_justify="left")
    for column in ("plugin", "distribution", "version", "API", "hooks"):
        table.add_column(column)
    for plugin in plugins.loaded:
        what = (plugin.name, plugin.distribution, plugin.version, plugin.api_version)
        table.add_row(*what, "\n".join(plugin.hooks))
    console.print(table)
    console.print(f"backends: {', '.join(registered) or 'none'}")
    console.print(f"engines: {', '.join(engines) or 'none'}")
    console.print(f"formats: {', '.join(formats)}")
    report_broken(console, plugins)
    if plugins.broken:
        raise typer.Exit(1)
