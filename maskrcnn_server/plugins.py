"""Finding plugins, and asking them what they bring."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

from maskrcnn_server import hookspecs
from maskrcnn_server.errors import BackendNotSelected, PluginError

if TYPE_CHECKING:
    from maskrcnn_server.backend import Backend, Demo, ZooModel
    from maskrcnn_server.engine import Engine
    from maskrcnn_server.extensions import Command, Hosting, Routes, Tracer
    from maskrcnn_server.formats import Format

FIRST_API_VERSION = "1.0"
"""Version of the interface of plugins that do not name one."""
CORE = "core"
"""Name of this distribution's own entry point, which comes first."""
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
"""Names of formats, commands and routes."""
IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9_]*")
"""Names of backends and engines: variables begin with them."""
API_VERSION = re.compile(r"([0-9]+)\.([0-9]+)")
ZOO_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*:[A-Za-z0-9_.-]+")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


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
    """An installed plugin that did not load, and why. The others work without it."""

    name: str
    distribution: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} of {self.distribution}: {self.reason}"


class Plugins:
    """The plugins of this installation. Each is loaded by itself; each hook is called once.

    `found` are the entry points to load; by default those that installed distributions declare in
    the group `maskrcnn_server`. Plugins are called in the order of their names, the core first.
    May be used from several threads.
    """

    def __init__(self, found: Iterable[EntryPoint] | None = None) -> None:
        if found is None:
            found = entry_points(group=hookspecs.PROJECT)
        self.loaded: list[Plugin] = []
        self.broken: list[BrokenPlugin] = []
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._modules: dict[Plugin, object] = {}
        self._things: dict[str, dict[str, Any]] = {}
        self._lock = threading.RLock()
        for entry in sorted(found, key=lambda e: (e.name != CORE, e.name)):
            self._load(entry)

    def backends(self) -> dict[str, Backend]:
        """Every registered backend by name."""
        return self._registered("register_backends", IDENTIFIER)

    def engines(self) -> dict[str, Engine]:
        """Every registered engine by name."""
        return self._registered("register_engines", IDENTIFIER)

    def hosting(self) -> dict[str, Hosting]:
        """Every registered way to host a model outside the server's process, by name."""
        return self._registered("register_hosting")

    def formats(self) -> dict[str, Format]:
        """Every registered format by name, in the order of registration."""
        return self._registered("register_formats")

    def commands(self) -> dict[str, Command]:
        """Every registered command by name."""
        return self._registered("register_commands")

    def routes(self) -> dict[str, Routes]:
        """Every registered set of routes by name."""
        return self._registered("register_routes")

    def tracers(self) -> dict[str, Tracer]:
        """Every registered tracer by name."""
        return self._registered("register_tracers")

    def zoo(self) -> dict[str, ZooModel]:
        """Every published model by name."""
        return self._registered("register_zoo", ZOO_NAME)

    def demos(self) -> dict[str, Demo]:
        """Every registered demonstration by name."""
        return self._registered("register_demos")

    def _load(self, entry: EntryPoint) -> None:
        distribution = entry.dist.name if entry.dist else "unknown"
        version = entry.dist.version if entry.dist else "unknown"
        try:
            module = entry.load()
            said = api_version(module)
            hooks = self._hooks(module)
            if not hooks:
                raise PluginError(f"{entry.value} implements no hook of {hookspecs.PROJECT}")
        # A stranger's module may raise anything on import, SystemExit included.
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            self.broken.append(BrokenPlugin(entry.name, distribution, reason))
        else:
            plugin = Plugin(entry.name, distribution, version, hooks, said)
            self.loaded.append(plugin)
            self._modules[plugin] = module

    def _hooks(self, module: object) -> tuple[str, ...]:
        """Register a module; the names of the hooks it implements. Raises what pluggy raises."""
        try:
            self._manager.register(module)
            self._manager.check_pending()
        except pluggy.PluginValidationError:
            # Some versions of pluggy have taken it out already.
            if self._manager.is_registered(module):
                self._manager.unregister(module)
            raise
        return tuple(caller.name for caller in self._manager.get_hookcallers(module) or ())

    def _registered(self, hook: str, pattern: re.Pattern[str] = NAME) -> dict[str, Any]:
        """Everything that plugins register by a hook, which is called the first time only.

        One plugin is called at a time; one that fails is reported as broken, and left out.
        """
        with self._lock:
            if hook not in self._things:
                things: dict[str, Any] = {}
                for plugin in list(self.loaded):
                    if hook in plugin.hooks:
                        things |= self._called(plugin, hook, things, pattern)
                self._things[hook] = things
            return dict(self._things[hook])

    def _called(
        self, plugin: Plugin, hook: str, taken: Mapping[str, Any], pattern: re.Pattern[str]
    ) -> dict[str, Any]:
        own: dict[str, Any] = {}
        module = self._modules[plugin]
        others = [other for other in self._manager.get_plugins() if other is not module]
        call = self._manager.subset_hook_caller(hook, others)
        try:
            call(register=_collector(own, taken, pattern))
        except (Exception, SystemExit) as error:
            reason = f"{hook}: {type(error).__name__}: {error}"
            self.broken.append(BrokenPlugin(plugin.name, plugin.distribution, reason))
            self.loaded.remove(plugin)
            return {}
        return own


@cache
def installed() -> Plugins:
    """The plugins of this process."""
    return Plugins()


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
            "no backend is installed: install one, such as maskrcnn-tensorpack, which also says "
            "whose checkpoint this is"
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


def _collector(
    own: dict[str, Any], taken: Mapping[str, Any], pattern: re.Pattern[str]
) -> Callable[[_Named], None]:
    def register(thing: _Named) -> None:
        if not pattern.fullmatch(thing.name):
            raise PluginError(
                f"name {thing.name!r}: lower-case letters, digits and "
                f"{'_' if pattern is IDENTIFIER else '- and _'} are allowed, and no _ or - first"
            )
        if thing.name in own or thing.name in taken:
            raise PluginError(f"name {thing.name!r} is taken already")
        own[thing.name] = thing

    return register
