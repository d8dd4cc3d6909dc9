"""A small network that finds something, in the layout of Matterport's files."""

import numpy as np
from matterport_weights import Layers
from numpy.typing import NDArray

from maskrcnn_network.testing.networks import small_network

CONFIG = """\
IMAGE_MIN_DIM: 96
IMAGE_MAX_DIM: 192
RPN_ANCHOR_SCALES: [16, 32, 64, 96, 128]
PRE_NMS_LIMIT: 72
POST_NMS_ROIS_INFERENCE: 24
DETECTION_MAX_INSTANCES: 20
DETECTION_MIN_CONFIDENCE: 0.1
"""
BN = ("gamma", "beta", "mean/EMA", "variance/EMA")
BRANCHES = {"conv1": "2a", "conv2": "2b", "conv3": "2c", "convshortcut": "1"}


def small_layers() -> Layers:
    """The small network of the kind `matterport` under Matterport's names and in its layouts."""
    values = dict(small_network("matterport").variables)
    made: Layers = {}

    def add(name: str, *weights: NDArray[np.float32]) -> None:
        made[name] = [(f"{name}/{i}:0", np.array(weight)) for i, weight in enumerate(weights)]

    def layer(name: str, ours: str, norm: str | None = None) -> None:
        add(name, values[f"{ours}/W"], values[f"{ours}/b"])
        if norm is not None:
            add(norm, *(values[f"{ours}/bn/{leaf}"] for leaf in BN))

    def y_first(value: NDArray[np.float32]) -> NDArray[np.float32]:
        return value.reshape(*value.shape[:-1], -1, 4)[..., [1, 0, 3, 2]].reshape(value.shape)

    layer("conv1", "conv0", "bn_conv1")
    for ours in [n.removesuffix("/W") for n in values if n.startswith("group") and n[-1] == "W"]:
        group, block, conv = ours.split("/")
        name = f"{int(group[-1]) + 2}{'abc'[int(block[-1])]}_branch{BRANCHES[conv]}"
        layer(f"res{name}", ours, f"bn{name}")
    for level in (2, 3, 4, 5):
        layer(f"fpn_c{level}p{level}", f"fpn/lateral_1x1_c{level}")
        layer(f"fpn_p{level}", f"fpn/posthoc_3x3_p{level}")
    logits = [np.stack([0 * values[n], values[n]], -1) for n in ("rpn/class/W", "rpn/class/b")]
    add(
        "rpn_model",
        values["rpn/conv0/W"],
        values["rpn/conv0/b"],
        *(pair.reshape(*pair.shape[:-2], -1) for pair in logits),
        y_first(values["rpn/box/W"]),
        y_first(values["rpn/box/b"]),
    )
    for i, side in ((1, 7), (2, 1)):
        layer(f"mrcnn_class_conv{i}", f"fastrcnn/fc{i + 5}", f"mrcnn_class_bn{i}")
        name, kernel = made[f"mrcnn_class_conv{i}"][0]
        made[f"mrcnn_class_conv{i}"][0] = name, kernel.reshape(side, side, -1, kernel.shape[-1])
    layer("mrcnn_class_logits", "fastrcnn/outputs/class")
    add("mrcnn_bbox_fc", *(y_first(values[f"fastrcnn/outputs/box/{leaf}"]) for leaf in "Wb"))
    for i in (1, 2):
        layer(f"mrcnn_mask_conv{i}", f"maskrcnn/fcn{i - 1}", f"mrcnn_mask_bn{i}")
    layer("mrcnn_mask_deconv", "maskrcnn/deconv")
    masks = (values[f"maskrcnn/conv/{leaf}"] for leaf in "Wb")
    add("mrcnn_mask", *(np.concatenate([0 * v[..., :1], v], axis=-1) for v in masks))
    return made
