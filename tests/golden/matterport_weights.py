#!/usr/bin/env python3
"""Write a seeded random `mask_rcnn_*.h5` with the names, shapes and nesting of Matterport's.

    matterport_weights.py OUT.h5 CLASSES resnet50|resnet101

CLASSES counts the background. The golden files `matterport-*.npz` were computed with these weights.
"""

import string
import sys
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

BLOCKS = {"resnet50": 6, "resnet101": 23}
Layers = dict[str, list[tuple[str, NDArray[np.float32]]]]


def layers(classes: int, architecture: str) -> Layers:
    """The weights of every layer, in the order of a file."""
    random = np.random.default_rng(0)
    made: Layers = {}

    def normal(*shape: int) -> NDArray[np.float64]:
        return random.normal(size=shape)

    def conv(name: str, size: int, inputs: int, outputs: int, gain: float = 1.0) -> None:
        kernel = normal(size, size, inputs, outputs) * gain * np.sqrt(2 / (size * size * inputs))
        _add(name, kernel=kernel, bias=normal(outputs) * 0.01)

    def norm(name: str, channels: int, gain: float = 1.0) -> None:
        _add(
            name,
            gamma=gain * random.uniform(0.8, 1.2, channels),
            beta=normal(channels) * 0.05,
            moving_mean=normal(channels) * 0.05,
            moving_variance=random.uniform(0.8, 1.2, channels),
        )

    def dense(name: str, inputs: int, outputs: int, gain: float) -> None:
        kernel = normal(inputs, outputs) * gain / np.sqrt(inputs)
        _add(name, kernel=kernel, bias=normal(outputs) * 0.01)

    def _add(name: str, **values: NDArray[np.float64]) -> None:
        made[name] = [(f"{name}/{n}:0", v.astype(np.float32)) for n, v in values.items()]

    conv("conv1", 7, 3, 64, 1 / 64)
    norm("bn_conv1", 64)
    inputs = 64
    for stage, count in ((2, 3), (3, 4), (4, BLOCKS[architecture]), (5, 3)):
        inner, outer = 16 << stage, 64 << stage
        for letter in string.ascii_lowercase[:count]:
            block = f"{stage}{letter}_branch"
            conv(f"res{block}2a", 1, inputs, inner)
            norm(f"bn{block}2a", inner)
            conv(f"res{block}2b", 3, inner, inner)
            norm(f"bn{block}2b", inner)
            conv(f"res{block}2c", 1, inner, outer)
            norm(f"bn{block}2c", outer, 0.3)
            if letter == "a":
                conv(f"res{block}1", 1, inputs, outer, 0.7)
                norm(f"bn{block}1", outer)
            inputs = outer
    for level in (5, 4, 3, 2):
        conv(f"fpn_c{level}p{level}", 1, 64 << level, 256, 0.5)
    for level in (2, 3, 4, 5):
        conv(f"fpn_p{level}", 3, 256, 256, 0.7)
    conv("rpn_conv_shared", 3, 256, 512)
    conv("rpn_class_raw", 1, 512, 6)
    conv("rpn_bbox_pred", 1, 512, 12, 0.5)
    nested = ("rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred")
    made["rpn_model"] = [weight for name in nested for weight in made.pop(name)]
    conv("mrcnn_class_conv1", 7, 256, 1024)
    norm("mrcnn_class_bn1", 1024)
    conv("mrcnn_class_conv2", 1, 1024, 1024)
    norm("mrcnn_class_bn2", 1024)
    dense("mrcnn_class_logits", 1024, classes, 3.0)
    dense("mrcnn_bbox_fc", 1024, 4 * classes, 0.7)
    for i in (1, 2, 3, 4):
        conv(f"mrcnn_mask_conv{i}", 3, 256, 256)
        norm(f"mrcnn_mask_bn{i}", 256)
    conv("mrcnn_mask_deconv", 2, 256, 256)
    conv("mrcnn_mask", 1, 256, classes, 1.5)
    return made


def write(path: Path, made: Layers, root: str = "/") -> None:
    """Write layers as Keras' `save_weights` does; `model.save` has them below `/model_weights`."""
    with h5py.File(path, "w") as file:
        top = file.require_group(root)
        names = ["input_image", "zero_padding2d_1", *made, "ROI", "mrcnn_detection"]
        top.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            group, weights = top.create_group(name), made.get(name, [])
            group.attrs["weight_names"] = [weight.encode() for weight, _ in weights]
            for weight, values in weights:
                group.create_dataset(weight, data=values)


if __name__ == "__main__":
    write(Path(sys.argv[1]), layers(int(sys.argv[2]), sys.argv[3]))
