"""Whether a model would be served, and by what."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maskrcnn_handlers.cli.showing import downloading, report_broken
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import Backend, ChecksWeights, ModelConfig, Probe
from maskrcnn_server.engine import ORIGINAL, Computes
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.hosting.located import choose_backend, locate
from maskrcnn_server.plugins import installed
from maskrcnn_server.settings import ModelSettings, Settings


def examine(model: str, backend: str | None, console: Console) -> tuple[Path, Probe]:
    """The model's folder, and what the backend that would serve it sees there; both are shown.

    Raises InvalidModel or BackendNotSelected if it would not be served.
    """
    settings = environment.read(model=model, backend=backend)
    return examine_model(settings.model, settings, console)


def examine_model(model: ModelSettings, settings: Settings, console: Console) -> tuple[Path, Probe]:
    """The same for a model with settings of its own."""
    plugins = installed()
    with downloading(console) as progress:
        located = locate(plugins, model, settings, progress)
    report_broken(console, plugins)
    fitting = {name: seen for name, seen in located.probes.items() if not seen.problems}
    for name, seen in (fitting or located.probes).items():
        _show(console, name, seen)
    chosen = choose_backend(plugins, located)
    if chosen.name not in fitting:
        raise InvalidModel(f"{located} would not be served by {chosen.name}")
    if isinstance(chosen, ChecksWeights):
        chosen.check_weights(located.config(chosen.name))
    config = located.config(chosen.name)
    engine = _engine(chosen, [replace(config, device=each) for each in model.device.split(",")])
    folder = escape(str(located.folder))
    console.print(f"[green]{folder} would be served[/] by {chosen.name}{engine}")
    return located.folder, fitting[chosen.name]


def _engine(backend: Backend, configs: Sequence[ModelConfig]) -> str:
    """Which engine would compute on each device, and why. Raises InvalidSetting if none does."""
    if configs[0].engine == ORIGINAL or not isinstance(backend, Computes):
        return ""
    choices = [backend.choice(config) for config in configs]
    devices = " and ".join(choice.device for choice in choices)
    return escape(f", computed by {choices[0].engine.name} on {devices} ({choices[0].reason})")


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
