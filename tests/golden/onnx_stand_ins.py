"""Small models with the inputs and outputs that others write: what they find is in the image.

Each "finds" two objects: a bright left half, and everything; the second scores less.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Dims: TypeAlias = Sequence[int | str]

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
SCORES = np.array([0.9, 0.6], np.float32)


def zoo(path: Path) -> None:
    """Image (3, H, W), BGR minus the mean; outputs have numbers for names; masks 28 x 28."""
    constants = {
        "labels_": np.array([1, 80]),
        "scores_": SCORES,
        "masks_": np.ones((2, 1, 28, 28), np.float32),
    }
    nodes = [
        *_boxes_of("image", height=1, width=2),
        helper.make_node("Identity", ["boxes_"], ["6568"]),
        helper.make_node("Identity", ["labels_"], ["6570"]),
        helper.make_node("Identity", ["scores_"], ["6572"]),
        helper.make_node("Identity", ["masks_"], ["6887"]),
    ]
    outputs: list[tuple[str, int, Dims]] = [
        ("6568", FLOAT, ["a", 4]),
        ("6570", INT, ["b"]),
        ("6572", FLOAT, ["c"]),
        ("6887", FLOAT, ["d", 1, 28, 28]),
    ]
    _save(path, nodes, [("image", [3, "height", "width"])], outputs, constants)


def mmdetection(path: Path) -> None:
    """Images (1, 3, H, W); boxes with scores, labels from 0, padded with the first class."""
    scores = np.array([[[0.9], [0.6], [0.0]]], np.float32)
    constants = {
        "labels_": np.array([[0, 79, 0]]),
        "scores_": scores,
        "masks_": np.ones((1, 3, 28, 28), np.float32),
        "no_box": np.zeros((1, 4), np.float32),
    }
    nodes = [
        *_boxes_of("input", height=2, width=3),
        helper.make_node("Concat", ["boxes_", "no_box"], ["three"], axis=0),
        helper.make_node("Unsqueeze", ["three", "zero"], ["batch"]),
        helper.make_node("Concat", ["batch", "scores_"], ["dets"], axis=2),
        helper.make_node("Identity", ["labels_"], ["labels"]),
        helper.make_node("Identity", ["masks_"], ["masks"]),
    ]
    outputs: list[tuple[str, int, Dims]] = [
        ("dets", FLOAT, [1, "N", "Concatdets_dim_2"]),
        ("labels", INT, [1, "N"]),
        ("masks", FLOAT, [1, "N", 28, 28]),
    ]
    _save(path, nodes, [("input", [1, 3, "H", "W"])], outputs, constants)


def _boxes_of(image: str, height: int, width: int) -> list[onnx.NodeProto]:
    """`boxes_` (2, 4): the left half of the network's input, and all of it."""
    return [
        helper.make_node("Shape", [image], ["h"], start=height, end=height + 1),
        helper.make_node("Shape", [image], ["w"], start=width, end=width + 1),
        helper.make_node("Concat", ["w", "h", "w", "h"], ["whwh"], axis=0),
        helper.make_node("Cast", ["whwh"], ["extent"], to=FLOAT),
        helper.make_node("Mul", ["extent", "corners"], ["boxes_"]),
    ]


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: Sequence[tuple[str, Dims]],
    outputs: Sequence[tuple[str, int, Dims]],
    constants: dict[str, NDArray[np.generic]],
) -> None:
    constants = constants | {
        "zero": np.array([0]),
        "corners": np.array([[0, 0, 0.5, 1], [0, 0, 1, 1]], np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "stand_in",
        [helper.make_tensor_value_info(n, FLOAT, dims) for n, dims in inputs],
        [helper.make_tensor_value_info(n, kind, dims) for n, kind, dims in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="somebody")
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
