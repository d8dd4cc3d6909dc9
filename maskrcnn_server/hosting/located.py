"""The way from a model's address to its folder on this machine, and to its backend."""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from maskrcnn_server.backend import DescribesFiles, Probe
from maskrcnn_server.errors import BackendNotSelected, InvalidModel, InvalidSetting
from maskrcnn_server.keys import check_keys, undeclared
from maskrcnn_server.plugins import select_backend
from maskrcnn_server.remembering import remembering
from maskrcnn_server.settings import model_config
from maskrcnn_server.store.downloads import silent
from maskrcnn_server.store.model_store import ModelStore
from maskrcnn_server.work import limited, meter

if TYPE_CHECKING:
    from maskrcnn_server.backend import Backend, ModelConfig
    from maskrcnn_server.plugins import Plugins
    from maskrcnn_server.settings import ModelSettings, Settings
    from maskrcnn_server.store.downloads import Progress

MAX_DEPTH = 4
"""Number of folders that a model may be below the one that is named."""
FOLDER_STEPS = 100
"""Steps of work that looking into a folder takes."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Located:
    """A model on this machine, before it is loaded."""

    settings: ModelSettings
    folder: Path
    probes: Mapping[str, Probe]
    """Findings of the backends that recognise the folder, by their names."""
    asked: Collection[str] = ()
    """Names of the backends that were asked."""

    def config(self, backend: str) -> ModelConfig:
        """Configuration of the model for one backend."""
        return model_config(self.settings, self.folder, backend)

    def reasons(self, backends: Iterable[Backend]) -> list[str]:
        """Why no backend accepts the folder: what they say, or what its files are, which one of
        `backends` knows."""
        said = [f"{name}: {p}" for name, probe in self.probes.items() for p in probe.problems]
        expert = next((one for one in backends if isinstance(one, DescribesFiles)), None)
        return said if said or expert is None else expert.describe_files(self.folder, self.asked)

    def __str__(self) -> str:
        held = ", ".join(sorted(path.name for path in self.folder.iterdir())[:8]) or "nothing"
        return f"{self.folder} (it holds: {held})"


def locate(
    plugins: Plugins, model: ModelSettings, settings: Settings, progress: Progress = silent
) -> Located:
    """Find a model, downloading or unpacking it if need be, and ask the backends about it.

    If the model's settings name a backend, no other one is asked. Raises DownloadFailed or
    InvalidModel.
    """
    folder = model_store(plugins, settings, progress).resolve(model.address)
    if not folder.is_dir():
        raise InvalidModel(
            f"{folder}: no such folder or archive; name one, an address, or one that "
            "`maskrcnn-server models` lists"
        )
    backends = [b for b in plugins.backends().values() if model.backend in (None, b.name)]

    def look(folder: Path) -> dict[str, Probe]:
        meter(folder).spend(FOLDER_STEPS)
        seen = {b.name: _probe(b, model_config(model, folder, b.name)) for b in backends}
        return {name: probe for name, probe in seen.items() if probe is not None}

    with remembering(), limited():
        folder, probes = nearest(folder, look)
    return Located(settings=model, folder=folder, probes=probes, asked=[b.name for b in backends])


def model_store(plugins: Plugins, settings: Settings, progress: Progress = silent) -> ModelStore:
    """The store that the settings describe, with every plugin's zoo."""
    return ModelStore(
        cache=settings.cache.expanduser(),
        zoo=plugins.zoo(),
        zoo_url=settings.zoo_url,
        progress=progress,
    )


def choose_backend(plugins: Plugins, model: Located) -> Backend:
    """The backend that the model's settings name, or the one that fits its folder; its notes go to
    the log.

    Raises BackendNotSelected.
    """
    for broken in plugins.broken:
        logger.warning("broken plugin: %s", broken)

    def accepts(backend: Backend) -> bool:
        return backend.name in model.probes and not model.probes[backend.name].problems

    try:
        chosen = select_backend(plugins.backends(), model.settings.backend, accepts)
    except BackendNotSelected as error:
        reason, reasons = error.message, model.reasons(plugins.backends().values())
        if plugins.broken:
            reason = reason if plugins.backends() else "no backend works"
            count = len(plugins.broken)
            they = "1 plugin is" if count == 1 else f"{count} plugins are"
            reasons.append(f"{they} broken: {', '.join(map(str, plugins.broken))}")
        raise BackendNotSelected(f"{model}: {'; '.join([reason, *reasons])}") from None
    if chosen.name not in model.probes:
        reasons = [
            f"backend {chosen.name} does not recognise the model",
            *model.reasons(plugins.backends().values()),
        ]
        raise BackendNotSelected(f"{model}: {'; '.join(reasons)}")
    for note in model.probes[chosen.name].notes:
        logger.info("note: %s", note)
    return chosen


def nearest(folder: Path, look: Callable[[Path], T]) -> tuple[Path, T]:
    """The folder itself, or the nearest one below it in which `look` sees something; and what.

    `folder` where there is none. Raises InvalidModel where several are equally near.
    """
    at_all = look(folder)
    level, seen = deque([folder]), [(folder, at_all)] if at_all else []
    for _ in range(MAX_DEPTH):
        if seen:
            break
        level = deque(below for parent in level for below in _folders(parent))
        seen = [(below, found) for below in level if (found := look(below))]
    if len(seen) > 1:
        names = ", ".join(str(below.relative_to(folder)) for below, _ in seen)
        raise InvalidModel(f"{folder}: holds several models: {names}; name one of them")
    return seen[0] if seen else (folder, at_all)


def _folders(parent: Path) -> list[Path]:
    """The folders below, except hidden ones and what macOS adds to archives."""
    below = (path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())
    return sorted(path for path in below if not path.name.startswith((".", "__MACOSX")))


def _probe(backend: Backend, config: ModelConfig) -> Probe | None:
    """The backend's findings in the model folder, or the problem that it raised an error."""
    try:
        found = backend.probe(config)
        if found is not None:
            found = replace(found, notes=[*found.notes, *undeclared(backend, config)])
            if not found.problems:
                check_keys(backend, config)
        return found
    except InvalidSetting as error:
        return Probe(facts={}, problems=[error.message])
    except (Exception, SystemExit) as error:
        step = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{step.filename}, line {step.lineno}"
        reason = (
            f"backend {backend.name} failed to probe: {type(error).__name__}: {error} ({where})"
        )
        logger.warning(reason)
        logger.info("traceback of the backend's error", exc_info=True)
        return Probe(facts={}, problems=[reason])
