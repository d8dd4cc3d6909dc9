"""`maskrcnn-server doctor`"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maskrcnn_handlers.cli.progress import downloading
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import Probe
from maskrcnn_server.plugins import Plugins, select_backend
from maskrcnn_server.startup import fetched, probe


def doctor(
    model: Annotated[str, typer.Argument(help="Folder, archive, address or zoo name.")],
    backend: Annotated[
        str | None, typer.Option(help="Ask this backend only (default: every installed one).")
    ] = None,
) -> None:
    """Say what kind of model there is, and whether it would be served: then the exit code is 0.

    The environment counts, as it does for `serve`.
    """
    console = Console(soft_wrap=True)
    plugins = Plugins()
    asked_for = environment.read(model=model, backend=backend)
    with downloading(console) as progress:
        settings = fetched(plugins, asked_for, progress)
    model_dir = Path(settings.model)
    backends = plugins.backends()
    asked = {name: b for name, b in backends.items() if settings.backend in (None, name)}
    probes = {name: probe(asked[name], settings) for name in asked}
    for name, found in probes.items():
        if found is not None:
            _show(console, name, found)
    if not any(probes.values()):
        console.print(_contents(model_dir))
    servable = [name for name, found in probes.items() if found is not None and not found.problems]
    chosen = select_backend(backends, settings.backend, lambda b: b.name in servable)
    folder = escape(str(model_dir))
    if chosen.name not in servable:
        console.print(f"[red]{folder} would not be served[/] by {chosen.name}")
        raise typer.Exit(1)
    console.print(f"[green]{folder} would be served[/] by {chosen.name}")


def _contents(folder: Path) -> str:
    if not folder.is_dir():
        return "there is no such folder"
    inside = ", ".join(sorted(p.name for p in folder.iterdir())[:10]) or "nothing"
    return f"it holds: {escape(inside)}"


def _show(console: Console, name: str, found: Probe) -> None:
    table = Table(title=f"as {name} sees it", title_justify="left", show_header=False)
    for fact, value in found.facts.items():
        table.add_row(fact, escape(value))
    if found.facts:
        console.print(table)
    for problem in found.problems:
        console.print(f"[red]problem:[/] {escape(problem)}")
    for note in found.notes:
        console.print(f"[yellow]note:[/] {escape(note)}")
