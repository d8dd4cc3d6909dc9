"""What 8-bit integers need to know of a model: how large the inputs of its layers get.

It stands beside the weights, in `int8.json`, and is made of images like those to come.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maskrcnn_server.errors import InvalidModel

FILE = "int8.json"
FILE_BYTES = 1 << 20
MIN_CHANNELS = 16
"""Number of channels in and out of a layer below which integers save nothing."""

Ranges = Mapping[str, tuple[float, float]]


class Calibration(BaseModel):
    """The ranges of a model's layers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = 1
    images: Annotated[int, Field(gt=0)]
    """Number of images that it was made of."""
    weights: str
    """SHA-256 of the variables that it was made for."""
    ranges: dict[str, tuple[float, float]]
    """Least and largest input of each layer that is computed in integers, by the layer's name."""
    kept: tuple[str, ...] = ()
    """Parts that stay in float32, since integers change too much in them."""

    def write(self, folder: Path) -> None:
        """Put it beside a checkpoint."""
        (folder / FILE).write_text(self.model_dump_json(indent=1) + "\n", "utf-8")


def read(folder: Path, variables: Mapping[str, NDArray[np.float32]]) -> Calibration:
    """The calibration of a model folder.

    Raises InvalidModel if there is none, or one of other weights.
    """
    path = folder / FILE
    if not path.is_file():
        raise InvalidModel(
            f"{path}: no such file, which int8 needs: make it with "
            f"`maskrcnn-server calibrate {folder} IMAGES`"
        )
    try:
        with path.open(encoding="utf-8") as file:
            found = Calibration.model_validate(json.loads(file.read(FILE_BYTES)))
    except (ValidationError, ValueError, RecursionError) as error:
        raise InvalidModel(f"{path}: not a calibration ({str(error)[:200]})") from None
    if found.weights != digest(variables):
        raise InvalidModel(f"{path}: made for other weights: calibrate this checkpoint anew")
    return found


def digest(variables: Mapping[str, NDArray[np.float32]]) -> str:
    """SHA-256 of variables, names and shapes included."""
    sha = hashlib.sha256()
    for name in sorted(variables):
        sha.update(f"{name} {variables[name].shape}\n".encode())
        sha.update(np.ascontiguousarray(variables[name], "<f4").data)
    return sha.hexdigest()


def integer_layers(layers: Mapping[str, tuple[NDArray[np.float32], object]]) -> list[str]:
    """The layers that integers make faster: those with channels enough."""
    wide = [name for name, (kernel, _) in layers.items() if min(kernel.shape[-2:]) >= MIN_CHANNELS]
    return [name for name in wide if name != "maskrcnn/conv"]
