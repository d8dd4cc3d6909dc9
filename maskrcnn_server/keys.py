"""Keys that a backend knows, of the framework's configuration and of its own options.

A key that would change the answer is obeyed, refused, or named in a note; a key that nobody knows
is refused with the nearest.
"""

import difflib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from maskrcnn_server.backend import Backend, ModelConfig
from maskrcnn_server.errors import InvalidSetting

OF_IMAGES = frozenset({"home", "version"})
"""Names that are no options: images set variables such as `TORCHVISION_VERSION`."""


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Declaration of the keys that a backend knows."""

    config: Collection[str] = ()
    """Dotted keys of `ModelConfig.overrides` that it obeys, or whose other values it refuses."""
    without_effect: Collection[str] = ()
    """Dotted keys of the framework that change no answer."""
    sections_without_effect: tuple[str, ...] = ()
    """Beginnings of further keys that change no answer, such as `SOLVER.`."""
    options: Collection[str] = ()
    """Names in `ModelConfig.options` that it obeys, in lower case."""
    options_without_effect: Collection[str] = ()
    """Names of the framework's own environment variables that change no answer."""

    def check(self, config: ModelConfig, backend: str) -> None:
        """Raises InvalidSetting for the first key of a configuration that nobody knows."""
        known = {*self.config, *self.without_effect}
        for key in config.overrides:
            if key not in known and not key.startswith(self.sections_without_effect):
                raise unknown(_override(key), f"key: {key}", near(key, known))
        variables = {_option(backend, name) for name in self.options}
        for name in config.options:
            if name not in {*self.options, *self.options_without_effect, *OF_IMAGES}:
                variable = _option(backend, name)
                raise unknown(variable, f"option of backend {backend}", near(variable, variables))


@runtime_checkable
class DeclaresKeys(Protocol):
    """Ability of a backend: to say which keys it knows. The server refuses all others."""

    @property
    def keys(self) -> Keys:
        """The keys that it knows."""


def check_keys(backend: Backend, config: ModelConfig) -> None:
    """Raises InvalidSetting if the backend declares its keys, and one is none of them."""
    if isinstance(backend, DeclaresKeys):
        backend.keys.check(config, backend.name)


def undeclared(backend: Backend, config: ModelConfig) -> list[str]:
    """A note about keys that a backend without a declaration may pass over."""
    if isinstance(backend, DeclaresKeys):
        return []
    given = [_override(key) for key in config.overrides]
    given += [_option(backend.name, name) for name in config.options if name not in OF_IMAGES]
    said = f"backend {backend.name} does not say which keys it knows, and may pass over"
    return [f"{said} {', '.join(given)}"] if given else []


def unknown(source: str, what: str, nearest: str | None) -> InvalidSetting:
    """The error of a key that nobody knows: `what` names it, `source` says where it is."""
    hint = "it has none" if nearest is None else f"the nearest is {nearest}"
    return InvalidSetting(f"{source}: no such {what}; {hint}")


def near(key: str, known: Iterable[str]) -> str | None:
    """The known key that is nearest to one that is not. None if there is none at all."""
    keys = sorted(known)
    found = difflib.get_close_matches(key, keys, n=1, cutoff=0)
    return meant(key, keys) or (found[0] if found else None)


def meant(key: str, known: Iterable[str]) -> str | None:
    """The known key that a key in lower case or without its sections may stand for."""
    names = dict(_names(known))
    found = difflib.get_close_matches(key.lower(), names, n=1, cutoff=0.8)
    return names[found[0]] if found else None


def _names(known: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Known keys by their last parts, and, counting more, by all of their parts."""
    keys = sorted(known)
    yield from ((leaf, key) for key in keys if "_" in (leaf := key.rpartition(".")[2].lower()))
    yield from ((key.lower(), key) for key in keys)


def _override(key: str) -> str:
    return f"CONFIG__{key.replace('.', '__')}"


def _option(backend: str, name: str) -> str:
    return f"{backend}_{name}".upper()
