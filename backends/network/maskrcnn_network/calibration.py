"""Calibration for 8-bit integers: the range of the input of each layer.

It is kept next to the weights in `int8.json`, and measured on images like those to be served.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maskrcnn_network.engine import Observes
from maskrcnn_network.folder import INT8_FILE
from maskrcnn_network.graph.folding import Weights
from maskrcnn_network.model import NetworkModel
from maskrcnn_server.agreement import compare
from maskrcnn_server.backend import Image
from maskrcnn_server.detections import Detections
from maskrcnn_server.engine import Ranges
from maskrcnn_server.errors import InvalidModel, InvalidSetting

FILE_BYTES = 1 << 20
MIN_CHANNELS = 16
"""Minimum number of channels in and out of a layer for integers to save time."""
LAST = ("maskrcnn/conv", "/mask/conv")
"""Ends of the names of mask heads' last layers, which compute one channel for each region."""
BOX_TOLERANCE = 2.0
"""Distance in pixels within which two boxes count as the same."""


class Calibration(BaseModel):
    """The ranges of a model's layers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = 1
    images: Annotated[int, Field(gt=0)]
    """Number of images it was measured on."""
    weights: str
    """SHA-256 of the variables it was made for."""
    ranges: dict[str, tuple[float, float]]
    """Minimum and maximum input of each layer computed in integers, by the layer's name."""
    kept: tuple[str, ...] = ()
    """Parts that stay in float32 because integers change their results too much."""

    def only(self, layers: Sequence[str]) -> "Calibration":
        """A copy with these layers only."""
        return self.model_copy(update={"ranges": {n: self.ranges[n] for n in layers}})

    def without(self, part: str, layers: Sequence[str]) -> "Calibration":
        """A copy in which one more part stays in float32."""
        rest = {name: ends for name, ends in self.ranges.items() if name not in layers}
        return self.model_copy(update={"ranges": rest, "kept": (*self.kept, part)})

    def write(self, folder: Path) -> Path:
        """Write `int8.json` next to a checkpoint."""
        path = folder / INT8_FILE
        path.write_text(self.model_dump_json(indent=1) + "\n", "utf-8")
        return path


def read(folder: Path, variables: Mapping[str, NDArray[np.float32]]) -> Calibration:
    """The calibration of a model folder.

    Raises InvalidModel if it is missing, invalid, or made for other weights.
    """
    path = folder / INT8_FILE
    if not path.is_file():
        raise InvalidModel(
            f"{path}: int8 needs this file, which does not exist; create it with "
            f"`maskrcnn-server calibrate {folder} IMAGES`"
        )
    try:
        with path.open(encoding="utf-8") as file:
            found = Calibration.model_validate(json.loads(file.read(FILE_BYTES)))
    except (ValidationError, ValueError, RecursionError) as error:
        raise InvalidModel(f"{path}: not a valid calibration ({str(error)[:200]})") from None
    if found.weights != digest(variables):
        raise InvalidModel(
            f"{path}: made for other weights; calibrate this checkpoint with "
            f"`maskrcnn-server calibrate {folder} IMAGES`"
        )
    return found


def digest(variables: Mapping[str, NDArray[np.float32]]) -> str:
    """SHA-256 of variables, including their names and shapes."""
    sha = hashlib.sha256()
    for name in sorted(variables):
        sha.update(f"{name} {variables[name].shape}\n".encode())
        sha.update(np.ascontiguousarray(variables[name], "<f4").data)
    return sha.hexdigest()


def parts(layers: Mapping[str, Weights]) -> dict[str, list[str]]:
    """The layers that integers speed up, by part of the network.

    Each block of the ResNet is a part, and so is every other layer.
    """
    found: dict[str, list[str]] = {}
    for name, (kernel, _) in layers.items():
        if min(kernel.shape[-2:]) >= MIN_CHANNELS and not name.endswith(LAST):
            block = re.match(r"group\d/block\d+", name)
            found.setdefault(block[0] if block else name, []).append(name)
    return found


def observed(model: NetworkModel, samples: Sequence[Image], layers: Sequence[str]) -> Ranges:
    """The range of each layer's input over all samples.

    Raises InvalidSetting if the model's engine cannot observe its layers.
    """
    session, rule = model.session, model.reading.preparation
    if not isinstance(session, Observes):
        raise InvalidSetting(
            "this engine cannot observe its layers: calibrate with the engine openvino"
        )
    seen = []
    for image in samples:
        size = rule.resized_size((image.shape[0], image.shape[1]))
        seen.append(session.ranges(image, size, layers))
    return {n: (min(r[n][0] for r in seen), max(r[n][1] for r in seen)) for n in layers}


def change(found: Sequence[Detections], reference: Sequence[Detections]) -> float:
    """Share of the reference that differs, weighted by score: 0 if nothing does.

    An unmatched detection counts with its score; a matched one with the difference of both scores,
    and with its score times 1 - IoU of both masks.
    """
    total = changed = 0.0
    for ours, theirs in zip(found, reference, strict=True):
        result = compare(ours, theirs, BOX_TOLERANCE)
        scores = theirs.scores[[j for _, j in result.pairs]]
        changed += float(ours.scores[result.surplus].sum() + theirs.scores[result.missing].sum())
        changed += float(result.score_differences.sum())
        if len(result.mask_ious):
            changed += float(((1 - result.mask_ious) * scores).sum())
        total += float(theirs.scores.sum())
    return changed / total if total else 0.0
