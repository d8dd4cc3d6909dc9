"""Writing a network as one ONNX file that contains everything a server needs to know."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from maskrcnn_network.calibration import digest
from maskrcnn_network.centred import CentredPreparation
from maskrcnn_network.graph.folding import Folded
from maskrcnn_network.graph.network import Network, Variables
from maskrcnn_network.graph.symbolic import Symbol, SymbolicOperations, ints
from maskrcnn_network.preparation import Preparation
from maskrcnn_server.backend import ModelMetadata

OPSET = 17
IR_VERSION = 8
KEY = "maskrcnn_server"
"""Key in the file's metadata of a JSON object, which docs/onnx.md describes."""
SUFFIX = ".onnx"
NAME = f"model{SUFFIX}"
FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
INPUTS: dict[str, tuple[int, Sequence[int | str]]] = {
    "images": (FLOAT, ["N", 3, "H", "W"]),
    "sizes": (INT, ["N", 2]),
    "score_threshold": (FLOAT, []),
    "limit": (INT, [1]),
    "with_masks": (BOOL, [1]),
}


def write(network: Network, variables: Variables, metadata: ModelMetadata, target: Path) -> None:
    """Write `target` if it ends in `.onnx`, else a folder of that name with `model.onnx` in it."""
    said = json.dumps(description(network, variables, metadata))
    model = graph(network, variables)
    helper.set_model_props(model, {KEY: said})
    if target.suffix != SUFFIX:
        target.mkdir(parents=True)
        target = target / NAME
    onnx.save(model, target)


def graph(network: Network, variables: Variables) -> onnx.ModelProto:
    """The network in ONNX.

    Inputs: `images` float32 (batch, 3, height, width), RGB minus the mean, zero-padded on the right
    and bottom to a multiple of the configured stride; their int64 `sizes` (batch, 2: height, width)
    without padding; `score_threshold` float32 (); `limit` int64 (1,), the maximum number of
    detections per image; `with_masks` bool (1,).

    Outputs for D detections, image after image and best first within each: `boxes` float32 (D, 4)
    in network coordinates, `scores` float32 (D,), `labels` int64 (D,) from 1, `images_of` int64
    (D,), and `masks` float32 (D, m, m) in their boxes, or (0, m, m) without. Outputs for P
    proposals: `proposal_boxes` (P, 4), `proposal_scores` (P,), `proposal_images` (P,) and
    `class_scores` (P, 1 + classes).
    """
    ops = OnnxOperations(network.folded(variables, channels_last=False))
    images, sizes, threshold, limit, with_masks = (Symbol(ops, name) for name in INPUTS)
    stages = network.detect(ops, images, ops.to_float(sizes), threshold, limit)
    found, proposals = stages.found, stages.proposals
    outputs: dict[str, tuple[Symbol, int, Sequence[int | str]]] = {
        "boxes": (found.boxes, FLOAT, ["D", 4]),
        "scores": (found.scores, FLOAT, ["D"]),
        "labels": (found.labels, INT, ["D"]),
        "images_of": (found.images, INT, ["D"]),
        "proposal_boxes": (proposals.boxes, FLOAT, ["P", 4]),
        "proposal_scores": (proposals.scores, FLOAT, ["P"]),
        "proposal_images": (proposals.slots.images, INT, ["P"]),
        "class_scores": (stages.probabilities, FLOAT, ["P", 1 + network.architecture.classes]),
    }
    if network.architecture.has_masks:
        count = ops.node("Shape", found.labels) * ops.to_int(with_masks)
        wanted = (
            ops.node("Slice", x, ints(0), count, ints(0), ints(1))
            for x in (found.boxes, found.labels, found.images)
        )
        side = 2 * network.body.mask_side
        masks = network.masks(ops, stages.features, *wanted)
        outputs["masks"] = (masks, FLOAT, ["M", side, side])
    return ops.model(outputs)


class OnnxOperations(SymbolicOperations):
    """A graph under construction; its handles are names of ONNX values."""

    def __init__(self, folded: Folded) -> None:
        super().__init__(folded)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._names = set(INPUTS)

    def emit(
        self, operator: str, inputs: list[Any], outputs: int, name: str, attributes: dict[str, Any]
    ) -> list[Any]:
        name = self._unused(name or operator)
        values = [name if i == 0 else f"{name}:{i}" for i in range(outputs)]
        given = [self._value(x) for x in inputs]
        self._nodes.append(helper.make_node(operator, given, values, name, **attributes))
        return values

    def weights(self, name: str, values: NDArray[np.float32]) -> Symbol:
        if name not in self._names:
            self._names.add(name)
            self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return Symbol(self, name)

    def model(self, outputs: dict[str, tuple[Symbol, int, Sequence[int | str]]]) -> onnx.ModelProto:
        """The finished model with the names, types and shapes of its outputs."""
        for name, (value, _, _) in outputs.items():
            self._nodes.append(
                helper.make_node("Identity", [value.handle], [name], f"output {name}")
            )
        made = helper.make_graph(
            self._nodes,
            "mask_rcnn",
            [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in INPUTS.items()],
            [
                helper.make_tensor_value_info(name, kind, shape)
                for name, (_, kind, shape) in outputs.items()
            ],
            self._constants,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(
            made, opset_imports=opsets, ir_version=IR_VERSION, producer_name="maskrcnn-server"
        )

    def _value(self, x: Any) -> str:
        if x is None or isinstance(x, str):
            return x or ""
        name = self._unused("constant")
        self._constants.append(numpy_helper.from_array(np.asarray(x), name))
        return name

    def _unused(self, name: str) -> str:
        number, unused = 1, name
        while unused in self._names:
            number += 1
            unused = f"{name}#{number}"
        self._names.add(unused)
        return unused


def _centred(rule: Preparation) -> dict[str, Any]:
    """What files say only of images in the middle of a canvas."""
    if not isinstance(rule, CentredPreparation):
        return {}
    return {"centred": True, "min_scale": rule.min_scale, "min_padded": rule.min_padded}


def description(network: Network, variables: Variables, metadata: ModelMetadata) -> dict[str, Any]:
    """What a server needs to know about the model, and facts for its operator."""
    config, rule = network.config, network.config.preparation
    resized = rule.short_edge is not None
    return {
        "format": 1,
        "name": metadata.name,
        "architecture": network.architecture.name,
        "classes": [category.name for category in metadata.categories],
        "dataset_ids": [category.dataset_id for category in metadata.categories],
        "score_threshold": metadata.score_threshold,
        "detections": config.detections,
        "one_scale": rule.one_scale,
        "paste": config.paste,
        "preprocessing": {
            "short_edge": rule.short_edge,
            "long_edge": rule.long_edge if resized and math.isfinite(rule.long_edge) else None,
            "rounding": rule.rounding,
            "resampling": rule.resampling,
            "channels": rule.channels,
            "mean": list(rule.mean),
            "multiple_of": rule.multiple_of,
            **_centred(rule),
        },
        "source": {
            "backend": metadata.backend,
            "checkpoint": metadata.facts["checkpoint"],
            "sha256": digest(variables),
        },
        "facts": {
            name: value
            for name, value in metadata.facts.items()
            if name in ("checkpoint", "step", "architecture", "classes", "resize")
        },
    }
