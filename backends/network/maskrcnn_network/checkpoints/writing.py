"""Writing the files of a model folder: weights and configuration."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import yaml
from numpy.typing import NDArray

from maskrcnn_server.errors import InvalidModel

Values: TypeAlias = Mapping[str, NDArray[np.float32]]
Write: TypeAlias = Callable[[Values, Path], None]
"""Function that writes values by name to a path, to which it adds the suffix."""


def write_npz(values: Values, stem: Path) -> None:
    """Write an `.npz` file, as in TensorPack's zoo."""
    with _with_suffix(stem, ".npz").open("wb") as file:
        np.savez(file, allow_pickle=False, **values)


def write_npz16(values: Values, stem: Path) -> None:
    """Write an `.npz` file in float16. Raises InvalidModel for a value that it cannot hold."""
    for name, value in values.items():
        if np.abs(value).max(initial=0) > np.finfo(np.float16).max:
            raise InvalidModel(f"{name} has values too large for float16: write npz instead")
    write_npz({name: value.astype(np.float16) for name, value in values.items()}, stem)


def write_configuration(values: Mapping[str, Any], path: Path) -> None:
    """Write dotted keys and their values, if any, in the format that `sources.read` reads."""
    if values:
        plain = {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
        path.write_text(yaml.safe_dump(plain, sort_keys=False), "utf-8")


def _with_suffix(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)
