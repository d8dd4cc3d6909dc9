"""Finding plugins, and asking them what they bring."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, TypeVar

import pluggy

from maskrcnn_server import hookspecs
from maskrcnn_server.backend import Backend, Demo, ZooModel
from maskrcnn_server.engine import Engine
from maskrcnn_server.errors import BackendNotSelected, PluginError
from maskrcnn_server.extensions import Command, Routes
from maskrcnn_server.formats import Format

FIRST_API_VERSION = "1.0"
"""Of plugins that do not say which they were written for."""
CORE = "core"
"""Name of the entry point of this distribution, whose things come first."""
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
API_VERSION = re.compile(r"([0-9]+)\.([0-9]+)")
ZOO_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*:[A-Za-z0-9_.-]+")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_T = TypeVar("_T", bound=_Named)


@dataclass(frozen=True)
class Plugin:
    """An installed plugin that loaded."""

    name: str
    distribution: str
    version: str
    hooks: tuple[str, ...]
    api_version: str = FIRST_API_VERSION


@dataclass(frozen=True)
class BrokenPlugin:
    """An installed plugin that did not load, and why. It costs the others nothing."""

    name: str
    distribution: str
    reason: str


class Plugins:
    """The plugins of this installation, each loaded by itself.

    `found` are the entry points to load; by default those that installed distributions declare in
    the group `maskrcnn_server`. Plugins are called in the order of their names, the core first.
    """

    def __init__(self, found: Iterable[EntryPoint] | None = None) -> None:
        if found is None:
            found = entry_points(group=hookspecs.PROJECT)
        self.loaded: list[Plugin] = []
        self.broken: list[BrokenPlugin] = []
        self._modules: list[tuple[Plugin, object]] = []
        for entry in sorted(found, key=lambda e: (e.name != CORE, e.name)):
            distribution = entry.dist.name if entry.dist else "unknown"
            version = entry.dist.version if entry.dist else "unknown"
            try:
                module, hooks = _load(entry)
            # A stranger's module may raise anything on import, SystemExit included.
            except (Exception, SystemExit) as error:
                reason = f"{type(error).__name__}: {error}"
                self.broken.append(BrokenPlugin(entry.name, distribution, reason))
            else:
                plugin = Plugin(entry.name, distribution, version, hooks, api_version(module))
                self.loaded.append(plugin)
                self._modules.append((plugin, module))

    def backends(self) -> dict[str, Backend]:
        """Every registered backend by name."""
        return self._registered("register_backends")

    def engines(self) -> dict[str, Engine]:
        """Every registered engine by name."""
        return self._registered("register_engines")

    def formats(self) -> dict[str, Format]:
        """Every registered format by name, in the order of registration."""
        return self._registered("register_formats")

    def commands(self) -> dict[str, Command]:
        """Every registered command by name."""
        return self._registered("register_commands")

    def routes(self) -> dict[str, Routes]:
        """Every registered set of routes by name."""
        return self._registered("register_routes")

    def zoo(self) -> dict[str, ZooModel]:
        """Every published model by name."""
        return self._registered("register_zoo", ZOO_NAME)

    def demos(self) -> dict[str, Demo]:
        """Every registered demonstration by name."""
        return self._registered("register_demos")

    def _registered(self, hook: str, pattern: re.Pattern[str] = NAME) -> dict[str, _T]:
        """Call one plugin's hook at a time; one that fails is reported as broken, and left out."""
        things: dict[str, _T] = {}
        for plugin, module in list(self._modules):
            own: dict[str, _T] = {}
            manager = _manager()
            manager.register(module)
            try:
                getattr(manager.hook, hook)(register=_collector(own, things, pattern))
            except (Exception, SystemExit) as error:
                reason = f"{hook}: {type(error).__name__}: {error}"
                self.broken.append(BrokenPlugin(plugin.name, plugin.distribution, reason))
                self.loaded.remove(plugin)
                self._modules.remove((plugin, module))
            else:
                things |= own
        return things


@cache
def installed_engines() -> Mapping[str, Engine]:
    """The engines of this installation by name."""
    return Plugins().engines()


def select_backend(
    backends: dict[str, Backend], name: str | None, accepts: Callable[[Backend], bool]
) -> Backend:
    """The backend called `name`; without a name the only one, or else the only one that `accepts`.

    Raises BackendNotSelected, with the choices, when that leaves none or several.
    """
    choices = ", ".join(sorted(backends)) or "none"
    if name is not None:
        if name not in backends:
            raise BackendNotSelected(
                f"MASKRCNN_BACKEND={name}: no such backend is installed (installed: {choices})"
            )
        return backends[name]
    candidates = list(backends.values())
    if len(candidates) > 1:
        candidates = [backend for backend in candidates if accepts(backend)]
    if len(candidates) == 1:
        return candidates[0]
    if not backends:
        raise BackendNotSelected(
            "no backend is installed: install one, such as maskrcnn-tensorpack"
        )
    if not candidates:
        raise BackendNotSelected(f"no installed backend recognises the model (asked: {choices})")
    raise BackendNotSelected(
        f"the model could be served by {', '.join(sorted(b.name for b in candidates))}: "
        "set MASKRCNN_BACKEND to the one that trained it"
    )


def api_version(module: object) -> str:
    """The version of the interface that a plugin's module was written for.

    Raises PluginError if this server has another: its major must be the same, its minor as large.
    """
    said = getattr(module, "api_version", FIRST_API_VERSION)
    version = API_VERSION.fullmatch(said) if isinstance(said, str) else None
    if version is None:
        raise PluginError(
            f"api_version {said!r}: a text such as {hookspecs.API_VERSION!r} is meant"
        )
    major, minor = map(int, hookspecs.API_VERSION.split("."))
    if int(version[1]) != major or int(version[2]) > minor:
        raise PluginError(
            f"written for plugin API {said}, this server has {hookspecs.API_VERSION}: it takes "
            f"plugins for {major}.0 to {major}.{minor}, so install another version of either"
        )
    return said


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def _load(entry: EntryPoint) -> tuple[object, tuple[str, ...]]:
    module = entry.load()
    api_version(module)
    manager = _manager()
    manager.register(module)
    manager.check_pending()
    hooks = tuple(caller.name for caller in manager.get_hookcallers(module) or ())
    if not hooks:
        raise PluginError(f"{entry.value} implements no hook of {hookspecs.PROJECT}")
    return module, hooks


def _collector(
    own: dict[str, _T], taken: dict[str, _T], pattern: re.Pattern[str]
) -> Callable[[_T], None]:
    def register(thing: _T) -> None:
        if not pattern.fullmatch(thing.name):
            raise PluginError(
                f"name {thing.name!r}: lower-case letters, digits, then - and _ are allowed"
            )
        if thing.name in own or thing.name in taken:
            raise PluginError(f"name {thing.name!r} is taken already")
        own[thing.name] = thing

    return register
