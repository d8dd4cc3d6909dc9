"""Detectron2's names for the layers of a Mask R-CNN.

Sources: detectron2/modeling/backbone/resnet.py and fpn.py, proposal_generator/rpn.py, and
roi_heads/box_head.py, fast_rcnn.py and mask_head.py.
"""

import re

from maskrcnn_network.checkpoints.background import BACKGROUND_FIRST
from maskrcnn_network.checkpoints.renamed import Naming

_BODY = r"backbone\.(?:bottom_up\.)?"
"""Pattern of the backbone's module, which is within the pyramid's if there is one."""
_BLOCK = rf"(?:{_BODY}|roi_heads\.)res(\d)\.(\d+)"
"""Pattern of a block's module. The heads of C4 networks have `res5`."""


def _block(found: re.Match[str], layer: str) -> str:
    return f"group{int(found[1]) - 2}/block{found[2]}/{layer}"


def _box(found: re.Match[str], part: str) -> str:
    """A layer of the box head; heads of a cascade are numbered from 0."""
    stage = found[1]
    if stage is None:
        return f"fastrcnn/{part}"
    scope = "" if part.startswith("outputs/") else "head/"
    return f"cascade_rcnn_stage{int(stage) + 1}/{scope}{part}"


_HEAD, _PREDICTOR = (rf"roi_heads\.box_{part}\.(?:([0-2])\.)?" for part in ("head", "predictor"))

NAMING = Naming(
    framework="Detectron2",
    kind="Mask R-CNN or Faster R-CNN with ResNet, Cascade included",
    layers={
        rf"{_BODY}stem\.conv1": lambda _: "conv0",
        rf"{_BLOCK}\.conv(\d)": lambda m: _block(m, f"conv{m[3]}"),
        rf"{_BLOCK}\.shortcut": lambda m: _block(m, "convshortcut"),
        r"backbone\.fpn_lateral(\d)": lambda m: f"fpn/lateral_1x1_c{m[1]}",
        r"backbone\.fpn_output(\d)": lambda m: f"fpn/posthoc_3x3_p{m[1]}",
        r"proposal_generator\.rpn_head\.conv": lambda _: "rpn/conv0",
        r"proposal_generator\.rpn_head\.conv\.conv(\d)": lambda m: f"rpn/conv{m[1]}",
        r"proposal_generator\.rpn_head\.objectness_logits": lambda _: "rpn/class",
        r"proposal_generator\.rpn_head\.anchor_deltas": lambda _: "rpn/box",
        rf"{_HEAD}conv(\d)": lambda m: _box(m, f"conv{int(m[2]) - 1}"),
        rf"{_HEAD}fc(\d)": lambda m: _box(m, f"fc{int(m[2]) + 5}"),
        rf"{_PREDICTOR}cls_score": lambda m: _box(m, "outputs/class"),
        rf"{_PREDICTOR}bbox_pred": lambda m: _box(m, "outputs/box"),
        r"roi_heads\.mask_head\.mask_fcn(\d)": lambda m: f"maskrcnn/fcn{int(m[1]) - 1}",
        r"roi_heads\.mask_head\.deconv": lambda _: "maskrcnn/deconv",
        r"roi_heads\.mask_head\.predictor": lambda _: "maskrcnn/conv",
    },
    norms={
        rf"{_BODY}stem\.conv1\.norm": lambda _: "conv0",
        rf"{_BLOCK}\.conv(\d)\.norm": lambda m: _block(m, f"conv{m[3]}"),
        rf"{_BLOCK}\.shortcut\.norm": lambda m: _block(m, "convshortcut"),
        r"backbone\.fpn_lateral(\d)\.norm": lambda m: f"fpn/lateral_1x1_c{m[1]}",
        r"backbone\.fpn_output(\d)\.norm": lambda m: f"fpn/posthoc_3x3_p{m[1]}",
        rf"{_HEAD}conv(\d)\.norm": lambda m: _box(m, f"conv{int(m[2]) - 1}"),
        r"roi_heads\.mask_head\.mask_fcn(\d)\.norm": lambda m: f"maskrcnn/fcn{int(m[1]) - 1}",
    },
    ignored=re.compile(r"(^pixel_(mean|std)|anchor_generator\..*|\.num_batches_tracked)$"),
    changes=BACKGROUND_FIRST,
)
