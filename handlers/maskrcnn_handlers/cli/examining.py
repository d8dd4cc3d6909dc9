"""Whether a model would be served, and by what."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maskrcnn_handlers.cli.progress import downloading
from maskrcnn_handlers.cli.showing import report_broken
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import Backend, ModelConfig, Probe
from maskrcnn_server.engine import ORIGINAL, Computes
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.hosting.startup import choose_backend, fetched, probe
from maskrcnn_server.plugins import Plugins, installed
from maskrcnn_server.settings import Settings


def examine(model: str, backend: str | None, console: Console) -> tuple[Path, Probe]:
    """The model's folder, and what the backend that would serve it sees there; both are shown.

    Raises InvalidModel or BackendNotSelected if it would not be served.
    """
    return examine_settings(installed(), environment.read(model=model, backend=backend), console)


def examine_settings(plugins: Plugins, asked_for: Settings, console: Console) -> tuple[Path, Probe]:
    """The same for the model of these settings."""
    with downloading(console) as progress:
        settings = fetched(plugins, asked_for, progress)
    report_broken(console, plugins)
    probes = {
        name: probe(found, settings)
        for name, found in plugins.backends().items()
        if settings.backend in (None, name)
    }
    recognised = {name: seen for name, seen in probes.items() if seen is not None}
    fitting = {name: seen for name, seen in recognised.items() if not seen.problems}
    for name, seen in (fitting or recognised).items():
        _show(console, name, seen)
    chosen = choose_backend(plugins, settings)
    if chosen.name not in fitting:
        raise InvalidModel(f"{_described(settings)} would not be served by {chosen.name}")
    engine = _engine(chosen, environment.model_config(settings, chosen.name))
    console.print(f"[green]{escape(settings.model)} would be served[/] by {chosen.name}{engine}")
    return Path(settings.model), fitting[chosen.name]


def _engine(backend: Backend, config: ModelConfig) -> str:
    """Which engine would compute, and why. Raises InvalidSetting if none does."""
    if config.engine == ORIGINAL or not isinstance(backend, Computes):
        return ""
    choice = backend.choice(config)
    return escape(f", computed by {choice.engine.name} on {choice.device} ({choice.reason})")


def _described(settings: Settings) -> str:
    held = ", ".join(sorted(p.name for p in Path(settings.model).iterdir())[:8]) or "nothing"
    return f"{settings.model} (it holds: {held})"


def _show(console: Console, name: str, found: Probe) -> None:
    console.print(f"[italic]as {name} sees it[/]")
    table = Table(show_header=False)
    for fact, value in found.facts.items():
        table.add_row(fact, escape(value))
    if found.facts:
        console.print(table)
    for problem in found.problems:
        console.print(f"[red]problem:[/] {escape(problem)}")
    for note in found.notes:
        console.print(f"[yellow]note:[/] {escape(note)}")
