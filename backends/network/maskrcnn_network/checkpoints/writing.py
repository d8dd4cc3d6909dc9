"""Writing what a model folder holds: weights, and how they are configured."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import yaml
from numpy.typing import NDArray

from maskrcnn_server.errors import InvalidModel

Values: TypeAlias = Mapping[str, NDArray[np.float32]]
Write: TypeAlias = Callable[[Values, Path], None]
"""Writes values by name to a path that still lacks its suffix."""


def write_npz(values: Values, stem: Path) -> None:
    """As in TensorPack's zoo, which numpy reads."""
    with _with_suffix(stem, ".npz").open("wb") as file:
        np.savez(file, allow_pickle=False, **values)


def write_npz16(values: Values, stem: Path) -> None:
    """The same in half the size. Raises InvalidModel for a value that float16 cannot hold."""
    for name, value in values.items():
        if np.abs(value).max(initial=0) > np.finfo(np.float16).max:
            raise InvalidModel(f"{name} has values too large for float16")
    write_npz({name: value.astype(np.float16) for name, value in values.items()}, stem)


def write_configuration(values: Mapping[str, Any], path: Path) -> None:
    """Dotted keys and their values, if there are any, as `sources.read` takes them."""
    if values:
        plain = {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
        path.write_text(yaml.safe_dump(plain, sort_keys=False), "utf-8")


def _with_suffix(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)
