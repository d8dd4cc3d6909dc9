"""MMDetection's names for the layers of a Mask R-CNN.

Sources: mmdet/models/backbones/resnet.py, necks/fpn.py, dense_heads/rpn_head.py, and
roi_heads/bbox_heads/convfc_bbox_head.py and roi_heads/mask_heads/fcn_mask_head.py.
"""

import re

from maskrcnn_network.checkpoints.background import BACKGROUND_FIRST
from maskrcnn_network.checkpoints.renamed import Naming
from maskrcnn_network.checkpoints.state_dict import StateDict

_BLOCK = r"backbone\.layer(\d)\.(\d+)"
_BOX, _MASK = (rf"roi_head\.{head}_head\.(?:([0-2])\.)?" for head in ("bbox", "mask"))
_STATE = "state_dict."


def _block(found: re.Match[str], layer: str) -> str:
    return f"group{int(found[1]) - 1}/block{found[2]}/{layer}"


def _box(found: re.Match[str], part: str) -> str:
    """A layer of the box head; heads of a cascade are numbered from 0."""
    if found[1] is None:
        return f"fastrcnn/{part}"
    scope = "" if part.startswith("outputs/") else "head/"
    return f"cascade_rcnn_stage{int(found[1]) + 1}/{scope}{part}"


def _mask(found: re.Match[str], part: str) -> str:
    """A layer of the mask head; those of a cascade are numbered, too."""
    stage = found[1]
    return (
        f"maskrcnn/{part}" if stage is None else f"cascade_rcnn_stage{int(stage) + 1}/mask/{part}"
    )


class TrainedState(StateDict):
    """The tensors of `state_dict` alone, where training keeps the averaged weights of `EMAHook`."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        shapes = super().shapes
        own = {name: shape for name, shape in shapes.items() if name.startswith(_STATE)}
        return own or shapes


NAMING = Naming(
    framework="MMDetection",
    kind="Mask R-CNN or Faster R-CNN with ResNet and FPN, Cascade included",
    layers={
        r"backbone\.conv1": lambda _: "conv0",
        rf"{_BLOCK}\.conv(\d)": lambda m: _block(m, f"conv{m[3]}"),
        rf"{_BLOCK}\.downsample\.0": lambda m: _block(m, "convshortcut"),
        r"neck\.lateral_convs\.(\d)\.conv": lambda m: f"fpn/lateral_1x1_c{int(m[1]) + 2}",
        r"neck\.fpn_convs\.(\d)\.conv": lambda m: f"fpn/posthoc_3x3_p{int(m[1]) + 2}",
        r"rpn_head\.rpn_conv": lambda _: "rpn/conv0",
        r"rpn_head\.rpn_conv\.(\d)\.conv": lambda m: f"rpn/conv{m[1]}",
        r"rpn_head\.rpn_cls": lambda _: "rpn/class",
        r"rpn_head\.rpn_reg": lambda _: "rpn/box",
        rf"{_BOX}shared_convs\.(\d)\.conv": lambda m: _box(m, f"conv{m[2]}"),
        rf"{_BOX}shared_fcs\.(\d)": lambda m: _box(m, f"fc{int(m[2]) + 6}"),
        rf"{_BOX}fc_cls": lambda m: _box(m, "outputs/class"),
        rf"{_BOX}fc_reg": lambda m: _box(m, "outputs/box"),
        rf"{_MASK}convs\.(\d)\.conv": lambda m: _mask(m, f"fcn{m[2]}"),
        rf"{_MASK}upsample": lambda m: _mask(m, "deconv"),
        rf"{_MASK}conv_logits": lambda m: _mask(m, "conv"),
    },
    norms={
        r"backbone\.[bg]n1": lambda _: "conv0",
        rf"{_BLOCK}\.[bg]n(\d)": lambda m: _block(m, f"conv{m[3]}"),
        rf"{_BLOCK}\.downsample\.1": lambda m: _block(m, "convshortcut"),
        r"neck\.lateral_convs\.(\d)\.[bg]n": lambda m: f"fpn/lateral_1x1_c{int(m[1]) + 2}",
        r"neck\.fpn_convs\.(\d)\.[bg]n": lambda m: f"fpn/posthoc_3x3_p{int(m[1]) + 2}",
        rf"{_BOX}shared_convs\.(\d)\.[bg]n": lambda m: _box(m, f"conv{m[2]}"),
        rf"{_MASK}convs\.(\d)\.[bg]n": lambda m: _mask(m, f"fcn{m[2]}"),
    },
    # The copies of version 2's `EMAHook`, which has put the averages into the weights' place.
    ignored=re.compile(r"\.num_batches_tracked$|^ema_\w+$"),
    changes=BACKGROUND_FIRST,
    file=TrainedState,
)
