"""Interface of engines, which compute the networks of models, and the choice between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from maskrcnn_server.errors import InvalidSetting

if TYPE_CHECKING:
    from maskrcnn_server.backend import ModelConfig, Precision

ORIGINAL = "original"
"""Name for the original code that trained a model; a dialect runs it, not an engine."""
AUTO = "auto"
PREFERRED = (
    ("torch", "cuda"),
    ("openvino", "cpu"),
    ("tensorflow", "cuda"),
    ("tensorflow", "cpu"),
    ("torch", "cpu"),
)
"""Engines and kinds of device in order of preference. Other engines are used only if named."""


Ranges: TypeAlias = Mapping[str, tuple[float, float]]
"""Minimum and maximum input of layers, by layer name."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How an engine is to compute."""

    device: str
    """Device: `cpu` or `cuda:N`."""
    precision: Precision = "float32"
    threads: int
    """Number of CPU threads that compute."""
    streams: int | None = None
    """Number of images that a CPU computes at the same time, each with its share of the threads.
    None: derived from the threads."""
    dedicated: bool = False
    """Whether this process uses the engine's library for models only."""
    ranges: Ranges | None = None
    """Input ranges of the layers that int8 computes in integers."""


class Engine(Protocol):
    """A library that computes networks. Importing or constructing one imports no library.

    `maskrcnn_network.engine` defines networks, weights and the session that `open` returns.
    """

    @property
    def name(self) -> str:
        """Value of `MASKRCNN_ENGINE` that selects it: lower-case letters, digits and _."""

    def lacks(self, device: str, precision: Precision, /) -> str | None:
        """Reason why this machine cannot compute with a device and precision. None: it can.

        `device` is `cpu`, `cuda` or `cuda:N`. The reason names what to install or change. Fast;
        never raises.
        """

    def open(self, network: Any, variables: Any, setup: Setup, /) -> Any:
        """A session with the network and its weights, ready to run.

        Raises InvalidSetting with the reason of `lacks`.
        """


@dataclass(frozen=True)
class Choice:
    """The engine that computes a model."""

    engine: Engine
    device: str
    reason: str
    """Reason for the choice: `MASKRCNN_ENGINE`, or what better engines lack."""


@runtime_checkable
class Computes(Protocol):
    """Optional ability of a backend: to tell which engine would compute its models."""

    def choice(self, config: ModelConfig, /) -> Choice:
        """The engine that `load` would use. Raises InvalidSetting if there is none."""


def choose(engines: Mapping[str, Engine], config: ModelConfig) -> Choice:
    """The engine and device of the configuration, or the best of this machine.

    Raises InvalidSetting, with what each engine lacks, if none fits.
    """
    lacking: list[str] = []
    for name, device in _candidates(config):
        engine = engines.get(name)
        lack = "not installed" if engine is None else engine.lacks(device, config.precision)
        if engine is not None and lack is None:
            named = config.engine == name
            reason = f"MASKRCNN_ENGINE={name}" if named else "; ".join(lacking) or "the fastest"
            return Choice(engine, "cuda:0" if device == "cuda" else device, reason)
        lacking.append(f"{name} on {device}: {lack}")
    raise InvalidSetting(
        f"no engine computes in {config.precision} with MASKRCNN_ENGINE={config.engine} and "
        f"MASKRCNN_DEVICE={config.device}: {'; '.join(lacking) or _none(engines)}"
    )


def _candidates(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """Engines and devices that the configuration allows, in order of preference."""
    kind = config.device.partition(":")[0]
    if config.engine == AUTO:
        pairs: Sequence[tuple[str, str]] = PREFERRED
    else:
        pairs = [(config.engine, "cuda"), (config.engine, "cpu")]
    for name, device in pairs:
        if kind in (AUTO, device):
            yield name, device if kind == AUTO else config.device


def _none(engines: Mapping[str, Engine]) -> str:
    return f"installed are {', '.join(sorted(engines)) or 'none: install maskrcnn-openvino'}"
