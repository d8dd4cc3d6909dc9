"""What 8-bit integers need to know of a model: how large the inputs of its layers get.

It stands beside the weights, in `int8.json`, and is made of images like those to come.
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
"""Number of channels in and out of a layer below which integers save nothing."""
LAST = "maskrcnn/conv"
"""The layer of which only one channel is computed for each region."""
SAME_PLACE = 2.0
"""Distance in pixels within which boxes are the same."""


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

    def only(self, layers: Sequence[str]) -> "Calibration":
        """The same of these layers alone."""
        return self.model_copy(update={"ranges": {n: self.ranges[n] for n in layers}})

    def without(self, part: str, layers: Sequence[str]) -> "Calibration":
        """The same, but for a part that stays in float32."""
        rest = {name: ends for name, ends in self.ranges.items() if name not in layers}
        return self.model_copy(update={"ranges": rest, "kept": (*self.kept, part)})

    def write(self, folder: Path) -> Path:
        """Put it beside a checkpoint."""
        path = folder / INT8_FILE
        path.write_text(self.model_dump_json(indent=1) + "\n", "utf-8")
        return path


def read(folder: Path, variables: Mapping[str, NDArray[np.float32]]) -> Calibration:
    """The calibration of a model folder.

    Raises InvalidModel if there is none, or one of other weights.
    """
    path = folder / INT8_FILE
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


def parts(layers: Mapping[str, Weights]) -> dict[str, list[str]]:
    """The layers that integers make faster, by the part of the network they are in.

    A block of the ResNet is a part, and so is every other layer.
    """
    found: dict[str, list[str]] = {}
    for name, (kernel, _) in layers.items():
        if min(kernel.shape[-2:]) >= MIN_CHANNELS and name != LAST:
            block = re.match(r"group\d/block\d+", name)
            found.setdefault(block[0] if block else name, []).append(name)
    return found


def observed(model: NetworkModel, samples: Sequence[Image], layers: Sequence[str]) -> Ranges:
    """The range of each layer's input over all samples.

    Raises InvalidSetting if the model's engine cannot watch its layers.
    """
    session, rule = model.session, model.reading.preparation
    if not isinstance(session, Observes):
        raise InvalidSetting("this engine does not watch its layers: calibrate with openvino")
    seen = []
    for image in samples:
        size = rule.resized_size((image.shape[0], image.shape[1]))
        seen.append(session.ranges(image, size, layers))
    return {n: (min(r[n][0] for r in seen), max(r[n][1] for r in seen)) for n in layers}


def change(found: Sequence[Detections], reference: Sequence[Detections]) -> float:
    """How much of what the reference has is different, by score: 0 if nothing is.

    A detection without its twin counts as its score, one with it as far as the scores are apart,
    and as its mask is another.
    """
    total = changed = 0.0
    for ours, theirs in zip(found, reference, strict=True):
        result = compare(ours, theirs, SAME_PLACE)
        scores = theirs.scores[[j for _, j in result.pairs]]
        changed += float(ours.scores[result.surplus].sum() + theirs.scores[result.missing].sum())
        changed += float(result.score_differences.sum())
        if len(result.mask_ious):
            changed += float(((1 - result.mask_ious) * scores).sum())
        total += float(theirs.scores.sum())
    return changed / total if total else 0.0
