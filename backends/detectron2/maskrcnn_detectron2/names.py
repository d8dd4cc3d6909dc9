"""Detectron2's names for the layers of a Mask R-CNN.

Sources: detectron2/modeling/backbone/resnet.py and fpn.py, proposal_generator/rpn.py, and
roi_heads/box_head.py, fast_rcnn.py and mask_head.py.
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.checkpoints.renamed import Naming

_BLOCK = r"backbone\.bottom_up\.res(\d)\.(\d+)"


def _block(found: re.Match[str], layer: str) -> str:
    return f"group{int(found[1]) - 2}/block{found[2]}/{layer}"


def _background_first(class_layer: NDArray[Any]) -> NDArray[Any]:
    return np.roll(class_layer, 1, axis=-1)


def _with_background(box_layer: NDArray[Any]) -> NDArray[Any]:
    """Zeros for the box of the background, which Detectron2 does not have."""
    background = [(0, 0)] * (box_layer.ndim - 1) + [(4, 0)]
    return np.pad(box_layer, background)


NAMING = Naming(
    framework="Detectron2",
    layers={
        r"backbone\.bottom_up\.stem\.conv1": lambda _: "conv0",
        rf"{_BLOCK}\.conv(\d)": lambda m: _block(m, f"conv{m[3]}"),
        rf"{_BLOCK}\.shortcut": lambda m: _block(m, "convshortcut"),
        r"backbone\.fpn_lateral(\d)": lambda m: f"fpn/lateral_1x1_c{m[1]}",
        r"backbone\.fpn_output(\d)": lambda m: f"fpn/posthoc_3x3_p{m[1]}",
        r"proposal_generator\.rpn_head\.conv": lambda _: "rpn/conv0",
        r"proposal_generator\.rpn_head\.conv\.conv(\d)": lambda m: f"rpn/conv{m[1]}",
        r"proposal_generator\.rpn_head\.objectness_logits": lambda _: "rpn/class",
        r"proposal_generator\.rpn_head\.anchor_deltas": lambda _: "rpn/box",
        r"roi_heads\.box_head\.fc(\d)": lambda m: f"fastrcnn/fc{int(m[1]) + 5}",
        r"roi_heads\.box_predictor\.cls_score": lambda _: "fastrcnn/outputs/class",
        r"roi_heads\.box_predictor\.bbox_pred": lambda _: "fastrcnn/outputs/box",
        r"roi_heads\.mask_head\.mask_fcn(\d)": lambda m: f"maskrcnn/fcn{int(m[1]) - 1}",
        r"roi_heads\.mask_head\.deconv": lambda _: "maskrcnn/deconv",
        r"roi_heads\.mask_head\.predictor": lambda _: "maskrcnn/conv",
    },
    norms={
        r"backbone\.bottom_up\.stem\.conv1\.norm": lambda _: "conv0",
        rf"{_BLOCK}\.conv(\d)\.norm": lambda m: _block(m, f"conv{m[3]}"),
        rf"{_BLOCK}\.shortcut\.norm": lambda m: _block(m, "convshortcut"),
    },
    ignored=re.compile(r"(^pixel_(mean|std)|anchor_generator\..*|\.num_batches_tracked)$"),
    changes={
        "fastrcnn/outputs/class/W": _background_first,
        "fastrcnn/outputs/class/b": _background_first,
        "fastrcnn/outputs/box/W": _with_background,
        "fastrcnn/outputs/box/b": _with_background,
    },
)
