"""torchvision's names for the layers of a Mask R-CNN.

Sources: torchvision/models/resnet.py, ops/feature_pyramid_network.py, models/detection/rpn.py,
faster_rcnn.py and mask_rcnn.py, with the names before 0.13 that their `_load_from_state_dict`
knows.
"""

import re
from typing import Any

from numpy.typing import NDArray

from maskrcnn_network.checkpoints.renamed import Naming

_BLOCK = r"backbone\.body\.layer(\d)\.(\d+)"
_INVERTED = r"backbone\.body\.(\d+)\.(?:block|conv)\.(\d)"
"""Pattern of a layer in an inverted residual block of a MobileNet."""
_PROJECTED = r"backbone\.body\.(?:(1)\.conv\.{}|([2-9]|\d\d)\.conv\.{})"
"""Pattern of the last convolution, or of its norm, in a block of MobileNetV2."""
MAX_BLOCKS = 32
"""Maximum number of blocks whose squeezes are read."""
EXCITATION = {"1": "squeeze", "2": "excite"}
"""Our names of a squeeze's fully connected layers."""


def _block(found: re.Match[str], layer: str) -> str:
    return f"group{int(found[1]) - 1}/block{found[2]}/{layer}"


def _inverted(found: re.Match[str]) -> str:
    """A layer of an inverted residual block; the first block has no expansion."""
    place = min(2, int(found[2]) + (found[1] == "1"))
    return f"inverted{found[1]}/{('expand', 'depthwise', 'project')[place]}"


def _projected(found: re.Match[str]) -> str:
    return f"inverted{found[1] or found[2]}/project"


def _end(found: re.Match[str]) -> str:
    """The first or the last layer of a MobileNet."""
    return "conv0" if found[1] == "0" else "conv_last"


def _dense(excitation: NDArray[Any]) -> NDArray[Any]:
    """A convolution of one pixel as a fully connected layer."""
    return excitation[0, 0] if excitation.shape[:2] == (1, 1) else excitation


def _without_background(mask_layer: NDArray[Any]) -> NDArray[Any]:
    """The layer without its first channel, the background's, from which no mask is taken."""
    return mask_layer[..., 1:]


NAMING = Naming(
    framework="torchvision",
    kind="Mask R-CNN or Faster R-CNN with ResNet or MobileNet and FPN",
    layers={
        r"backbone\.body\.conv1": lambda _: "conv0",
        rf"{_BLOCK}\.conv(\d)": lambda m: _block(m, f"conv{m[3]}"),
        rf"{_BLOCK}\.downsample\.0": lambda m: _block(m, "convshortcut"),
        r"backbone\.body\.(\d+)\.0": _end,
        rf"{_INVERTED}\.0": _inverted,
        rf"{_INVERTED}\.fc([12])": lambda m: f"inverted{m[1]}/{EXCITATION[m[3]]}",
        _PROJECTED.format(1, 2): _projected,
        r"backbone\.fpn\.inner_blocks\.(\d)(?:\.0)?": lambda m: f"fpn/lateral_1x1_c{int(m[1]) + 2}",
        r"backbone\.fpn\.layer_blocks\.(\d)(?:\.0)?": lambda m: f"fpn/posthoc_3x3_p{int(m[1]) + 2}",
        r"rpn\.head\.conv": lambda _: "rpn/conv0",
        r"rpn\.head\.conv\.(\d)\.0": lambda m: f"rpn/conv{m[1]}",
        r"rpn\.head\.cls_logits": lambda _: "rpn/class",
        r"rpn\.head\.bbox_pred": lambda _: "rpn/box",
        r"roi_heads\.box_head\.(fc6|fc7)": lambda m: f"fastrcnn/{m[1]}",
        r"roi_heads\.box_head\.(\d)\.0": lambda m: f"fastrcnn/conv{m[1]}",
        r"roi_heads\.box_head\.\d": lambda _: "fastrcnn/fc",
        r"roi_heads\.box_predictor\.cls_score": lambda _: "fastrcnn/outputs/class",
        r"roi_heads\.box_predictor\.bbox_pred": lambda _: "fastrcnn/outputs/box",
        r"roi_heads\.mask_head\.mask_fcn(\d)": lambda m: f"maskrcnn/fcn{int(m[1]) - 1}",
        r"roi_heads\.mask_head\.(\d)\.0": lambda m: f"maskrcnn/fcn{m[1]}",
        r"roi_heads\.mask_predictor\.conv5_mask": lambda _: "maskrcnn/deconv",
        r"roi_heads\.mask_predictor\.mask_fcn_logits": lambda _: "maskrcnn/conv",
    },
    norms={
        r"backbone\.body\.bn1": lambda _: "conv0",
        rf"{_BLOCK}\.bn(\d)": lambda m: _block(m, f"conv{m[3]}"),
        rf"{_BLOCK}\.downsample\.1": lambda m: _block(m, "convshortcut"),
        r"backbone\.body\.(\d+)\.1": _end,
        rf"{_INVERTED}\.1": _inverted,
        _PROJECTED.format(2, 3): _projected,
        r"backbone\.fpn\.inner_blocks\.(\d)\.1": lambda m: f"fpn/lateral_1x1_c{int(m[1]) + 2}",
        r"backbone\.fpn\.layer_blocks\.(\d)\.1": lambda m: f"fpn/posthoc_3x3_p{int(m[1]) + 2}",
        r"roi_heads\.box_head\.(\d)\.1": lambda m: f"fastrcnn/conv{m[1]}",
        r"roi_heads\.mask_head\.(\d)\.1": lambda m: f"maskrcnn/fcn{m[1]}",
    },
    ignored=re.compile(r"\.num_batches_tracked$"),
    changes={
        "maskrcnn/conv/W": _without_background,
        "maskrcnn/conv/b": _without_background,
        **{
            f"inverted{i}/{layer}/W": _dense
            for i in range(1, MAX_BLOCKS)
            for layer in EXCITATION.values()
        },
    },
)
