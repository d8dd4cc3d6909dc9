"""What an engine is: who computes the network of a model, and on which device."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from maskrcnn_server.backend import ModelConfig, Precision
from maskrcnn_server.errors import InvalidSetting

ORIGINAL = "original"
"""The name of the code that trained a model, which is the dialect's matter, not an engine's."""
AUTO = "auto"
PREFERRED = (("torch", "cuda"), ("openvino", "cpu"), ("tensorflow", "cuda"), ("tensorflow", "cpu"))
"""Engines and kinds of device, the fastest first. Others are for those who name them."""


Ranges: TypeAlias = Mapping[str, tuple[float, float]]
"""Least and largest input of layers, by their names."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How an engine is to compute."""

    device: str
    """`cpu`, or `cuda:N`."""
    precision: Precision = "float32"
    threads: int
    """Number of CPU threads that compute."""
    streams: int | None = None
    """Number of images that a CPU computes side by side, each with its share of the threads. None:
    what suits the threads."""
    dedicated: bool = False
    """Whether this process runs models and does nothing else with the engine's library."""
    ranges: Ranges | None = None
    """Ranges of the layers that int8 computes in integers."""


class Engine(Protocol):
    """A library that computes networks. Importing and making one imports no library.

    What networks and weights are, and what `open` returns, is said by the library that defines
    networks: `maskrcnn_network.engine`.
    """

    @property
    def name(self) -> str:
        """Value of `MASKRCNN_ENGINE` that selects it: lower-case letters, digits, underscores."""

    def lacks(self, device: str, precision: Precision, /) -> str | None:
        """Why this machine cannot compute so: None if it can. `device` is `cpu`, `cuda`, `cuda:N`.

        Names what to install or to change. Quick, and raises nothing.
        """

    def open(self, network: Any, variables: Any, setup: Setup, /) -> Any:
        """A session with the network and its weights, ready to run.

        Raises InvalidSetting with what it `lacks`.
        """


@dataclass(frozen=True)
class Choice:
    """The engine that computes a model."""

    engine: Engine
    device: str
    reason: str
    """Why this one: `MASKRCNN_ENGINE`, or what the better ones lack."""


@runtime_checkable
class Computes(Protocol):
    """Ability of a backend to say which engine would compute its models."""

    def choice(self, config: ModelConfig, /) -> Choice:
        """The engine that `load` would use. Raises InvalidSetting if there is none."""


def choose(engines: Mapping[str, Engine], config: ModelConfig) -> Choice:
    """The engine and device that the configuration names, or the best of this machine.

    Raises InvalidSetting, with what each one lacks, if none computes as configured.
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
    """Engines and devices that the configuration allows, in the order of preference."""
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
