"""The graphs of a network that OpenVINO compiles. Each takes one image of any size."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maskrcnn_network.graph.folding import Folded
from maskrcnn_network.graph.network import Network
from maskrcnn_network.graph.symbolic import Symbol, ints
from maskrcnn_openvino.operations import OpenVinoOperations, op
from maskrcnn_openvino.runtime import openvino
from maskrcnn_server.engine import Ranges

KINDS = {"f32": np.float32, "i64": np.int64}
PARTS = ("backbone", "rpn", "heads", "masks")


class Graphs:
    """Builds graphs of a network with its layers."""

    def __init__(self, network: Network, folded: Folded, ranges: Ranges | None) -> None:
        self._network = network
        self._folded = folded
        self._ranges = ranges
        self.feature_names = [f"feature{i}" for i in range(len(network.body.cells))]

    def detector(self, *, shown: bool = False) -> Any:
        """From `images` float32 (1, height, width, 3), normalised and padded, to detections.

        Further inputs: `sizes` float32 (1, 2: height, width) without padding; `score_threshold`
        float32 (); `limit` int64 (1,); `with_masks` int64 (1,): 1 or 0. Outputs: `boxes`, `scores`,
        `labels`, `masks` (empty without `with_masks`), `proposal_boxes`, `proposal_scores`,
        `class_scores` and, if `shown`, the feature maps (1, channels, height, width).
        """
        _, inputs, outputs = self._detected()
        if not shown:
            outputs = {name: x for name, x in outputs.items() if name not in self.feature_names}
        return _model(inputs, outputs)

    def observer(self, layers: Sequence[str]) -> Any:
        """From the inputs of `detector` to `ranges` (2 * layers,): minimum and maximum of the input
        of each layer."""
        ops, inputs, _ = self._detected()
        ends = []
        for layer in layers:
            flat = [ops.reshape(x, (-1,)) for x in ops.inputs_of[layer]]
            for operator in ("ReduceMin", "ReduceMax"):
                uses = [ops.node(operator, x, axes=[0], keepdims=1) for x in flat]
                ends.append(ops.node(operator, ops.concat(uses, 0), axes=[0], keepdims=1))
        return _model(inputs, {"ranges": ops.concat(ends, 0)})

    def masker(self) -> Any:
        """From feature maps, `boxes` (D, 4) and `labels` (D,) to `masks` (D, m, m)."""
        ops = OpenVinoOperations(self._folded, self._ranges)
        maps = [_parameter(ops, name, [1, -1, -1, -1], "f32") for name in self.feature_names]
        boxes = _parameter(ops, "boxes", [-1, 4], "f32")
        labels = _parameter(ops, "labels", [-1], "i64")
        images = labels - labels
        masks = self._network.masks(ops, maps, boxes, labels, images)
        inputs = dict(zip(self.feature_names, maps, strict=True))
        return _model({**inputs, "boxes": boxes, "labels": labels}, {"masks": masks})

    def _detected(self) -> tuple[OpenVinoOperations, dict[str, Symbol], dict[str, Symbol]]:
        network, ops = self._network, OpenVinoOperations(self._folded, self._ranges)
        inputs = {
            name: _parameter(ops, name, shape, kind)
            for name, shape, kind in (
                ("images", [1, -1, -1, 3], "f32"),
                ("sizes", [1, 2], "f32"),
                ("score_threshold", [], "f32"),
                ("limit", [1], "i64"),
                ("with_masks", [1], "i64"),
            )
        }
        sizes, threshold, limit, with_masks = list(inputs.values())[1:]
        ops.part = "backbone"
        images = ops.transpose(inputs["images"], (0, 3, 1, 2))
        features = network.features(ops, images)
        ops.part = "rpn"
        proposals = network.proposals(ops, features, images, sizes)
        ops.part = "heads"
        probabilities, found = network.found(ops, features, proposals, sizes, threshold, limit)
        outputs = {
            "boxes": found.boxes,
            "scores": found.scores,
            "labels": found.labels,
            "proposal_boxes": proposals.boxes,
            "proposal_scores": proposals.scores,
            "class_scores": probabilities,
            **dict(zip(self.feature_names, features, strict=True)),
        }
        if network.architecture.has_masks:
            ops.part = "masks"
            count = ops.node("Shape", found.labels) * with_masks
            wanted = (
                ops.node("Slice", x, ints(0), count, ints(0), ints(1))
                for x in (found.boxes, found.labels, found.images)
            )
            outputs["masks"] = network.masks(ops, features, *wanted)
        return ops, inputs, outputs


def _parameter(ops: OpenVinoOperations, name: str, shape: list[int], kind: str) -> Symbol:
    made = op.parameter(shape, KINDS[kind], name)
    made.output(0).set_names({name})
    return Symbol(ops, made.output(0))


def _model(inputs: Mapping[str, Symbol], outputs: Mapping[str, Symbol]) -> Any:
    results = []
    for name, symbol in outputs.items():
        result = op.result(symbol.handle)
        result.output(0).set_names({name})
        results.append(result)
    return openvino.Model(results, [x.handle.get_node() for x in inputs.values()], "mask_rcnn")
