"""`maskrcnn-server doctor`"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maskrcnn_server import settings as environment
from maskrcnn_server.backend import Probe
from maskrcnn_server.errors import BackendNotSelected
from maskrcnn_server.plugins import Plugins


def doctor(
    model_dir: Annotated[Path, typer.Argument(help="Model folder.")],
    backend: Annotated[
        str | None, typer.Option(help="Ask this backend only (default: every installed one).")
    ] = None,
) -> None:
    """Say what is in a model folder, and whether it would be served: then the exit code is 0.

    The environment counts, as it does for `serve`.
    """
    console = Console(soft_wrap=True)
    backends = Plugins().backends()
    if backend is not None:
        if backend not in backends:
            raise BackendNotSelected(f"{backend}: installed are {', '.join(backends) or 'none'}")
        backends = {backend: backends[backend]}
    settings = environment.read(model_dir=model_dir)
    probes = {
        name: found.probe(environment.model_config(settings, name))
        for name, found in backends.items()
    }
    recognised = {name: probe for name, probe in probes.items() if probe is not None}
    for name, probe in recognised.items():
        _show(console, name, probe)
    servable = [name for name, probe in recognised.items() if not probe.problems]
    if servable:
        choice = "" if len(backends) == 1 else f" (MASKRCNN_BACKEND={servable[0]})"
        console.print(
            f"[green]{escape(str(model_dir))} can be served by {', '.join(servable)}[/]{choice}"
        )
        return
    if not recognised:
        asked = ", ".join(backends) or "no backend is installed"
        console.print(
            f"[red]{escape(str(model_dir))}: nothing that can be served (asked: {asked})[/]"
        )
        if not model_dir.is_dir():
            console.print("there is no such folder")
        else:
            inside = ", ".join(sorted(p.name for p in model_dir.iterdir())[:10]) or "nothing"
            console.print(f"it holds: {escape(inside)}")
    raise typer.Exit(1)


def _show(console: Console, name: str, probe: Probe) -> None:
    table = Table(title=f"as {name} sees it", title_justify="left", show_header=False)
    for fact, value in probe.facts.items():
        table.add_row(fact, escape(value))
    if probe.facts:
        console.print(table)
    for problem in probe.problems:
        console.print(f"[red]problem:[/] {escape(problem)}")
    for note in probe.notes:
        console.print(f"[yellow]note:[/] {escape(note)}")
