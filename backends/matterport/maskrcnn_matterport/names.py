"""Names and layouts of the layers in `mrcnn/model.py`."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_matterport.keras_file import KerasFile
from maskrcnn_network.checkpoints.renamed import Naming

_BLOCK = r"(\d)([a-w])_branch"
_CONV = {"2a": "conv1", "2b": "conv2", "2c": "conv3", "1": "convshortcut"}
_BRANCH = "(2[abc]|1)"


def _block(found: re.Match[str]) -> str:
    block = ord(found[2]) - ord("a")
    return f"group{int(found[1]) - 2}/block{block}/{_CONV[found[3]]}"


def _foreground(layer: NDArray[Any]) -> NDArray[Any]:
    """The difference of both logits, whose sigmoid is the softmax of the foreground."""
    return np.asarray(layer[..., 1::2] - layer[..., 0::2])


def _x_first(layer: NDArray[Any]) -> NDArray[Any]:
    """dx, dy, dw, dh from dy, dx, dh, dw."""
    order = np.arange(layer.shape[-1]).reshape(-1, 4)[:, [1, 0, 3, 2]]
    return layer[..., order.ravel()]


def _rows(convolution: NDArray[Any]) -> NDArray[Any]:
    """A fully connected layer from a convolution of whole regions."""
    return convolution.reshape(-1, convolution.shape[-1])


def _without_background(layer: NDArray[Any]) -> NDArray[Any]:
    return layer[..., 1:]


NAMING = Naming(
    framework="Matterport",
    layers={
        "conv1": lambda _: "conv0",
        f"res{_BLOCK}{_BRANCH}": _block,
        r"fpn_c(\d)p\d": lambda m: f"fpn/lateral_1x1_c{m[1]}",
        r"fpn_p(\d)": lambda m: f"fpn/posthoc_3x3_p{m[1]}",
        "rpn_model/rpn_conv_shared": lambda _: "rpn/conv0",
        "rpn_model/rpn_class_raw": lambda _: "rpn/class",
        "rpn_model/rpn_bbox_pred": lambda _: "rpn/box",
        r"mrcnn_class_conv(\d)": lambda m: f"fastrcnn/fc{int(m[1]) + 5}",
        "mrcnn_class_logits": lambda _: "fastrcnn/outputs/class",
        "mrcnn_bbox_fc": lambda _: "fastrcnn/outputs/box",
        r"mrcnn_mask_conv(\d)": lambda m: f"maskrcnn/fcn{int(m[1]) - 1}",
        "mrcnn_mask_deconv": lambda _: "maskrcnn/deconv",
        "mrcnn_mask": lambda _: "maskrcnn/conv",
    },
    norms={
        "bn_conv1": lambda _: "conv0",
        f"bn{_BLOCK}{_BRANCH}": _block,
        r"mrcnn_class_bn(\d)": lambda m: f"fastrcnn/fc{int(m[1]) + 5}",
        r"mrcnn_mask_bn(\d)": lambda m: f"maskrcnn/fcn{int(m[1]) - 1}",
    },
    ignored=re.compile(r"(?!)"),
    changes={
        "rpn/class/W": _foreground,
        "rpn/class/b": _foreground,
        "rpn/box/W": _x_first,
        "rpn/box/b": _x_first,
        "fastrcnn/fc6/W": _rows,
        "fastrcnn/fc7/W": _rows,
        "fastrcnn/outputs/box/W": _x_first,
        "fastrcnn/outputs/box/b": _x_first,
        "maskrcnn/conv/W": _without_background,
        "maskrcnn/conv/b": _without_background,
    },
    file=KerasFile,
    separator="/",
    leaves={"kernel": "W", "bias": "b"},
    norm_leaves={
        "gamma": "bn/gamma",
        "beta": "bn/beta",
        "moving_mean": "bn/mean/EMA",
        "moving_variance": "bn/variance/EMA",
    },
    layout=lambda value: value,
)
