"""Thin networks of other frameworks: seeded kernels, and what makes them find something.

A file of `thin/` holds, of a network and its framework's own outputs,

* `kernel/NAME`: the shape of each kernel, as the framework stores it (output channels first),
  whose values come from its name: see `kernel`
* `scale/NAME`: what each output channel of that kernel is multiplied with
* `value/NAME`: every other tensor
* `config`: the configuration, as text
* `PICTURE/...`: the outputs for each of `PICTURES`
"""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = dict[str, NDArray[Any]]
PICTURES = {"chelsea": 0, "turned": 1}
"""Quarters of a turn of the photograph `chelsea`, by name."""


def picture(photograph: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """One of `PICTURES`, of the photograph `chelsea`."""
    return np.ascontiguousarray(np.rot90(photograph, PICTURES[name]))


def kernel(name: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """The values of a kernel, from its name alone."""
    stream = np.random.RandomState(zlib.crc32(f"{seed}/{name}".encode()) & 0x7FFFFFFF)
    return np.asarray(stream.randn(*shape), np.float32)


def scaled(values: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Kernel values with each output channel multiplied."""
    return np.asarray(values * scale.reshape(-1, *[1] * (values.ndim - 1)), np.float32)


def weights(file: Path) -> Values:
    """Every tensor of a network, by its framework's name."""
    stored, found = dict(np.load(file)), {}
    seed = int(stored["seed"])
    for key, value in stored.items():
        kind, _, name = key.partition("/")
        if kind == "kernel":
            values = kernel(name, tuple(value.tolist()), seed)
            found[name] = scaled(values, stored[f"scale/{name}"])
        elif kind == "value":
            found[name] = value
    return found


def config(file: Path) -> str:
    """The configuration that the outputs were computed with."""
    return str(np.load(file)["config"])


def outputs(file: Path, name: str) -> Values:
    """What the framework found in a picture."""
    prefix = f"{name}/"
    return {k.removeprefix(prefix): v for k, v in np.load(file).items() if k.startswith(prefix)}
