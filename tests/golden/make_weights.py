#!/usr/bin/env python3
"""Write the seeded checkpoint that a golden output was computed with.

    make_weights.py resnet50|resnet101 tensorpack|aws_samples OUT.npz
    make_weights.py VARIANT tensorpack OUT.npz

Most variables come from a formula (a numpy stream per variable name, so resnet50 and resnet101
share what they have in common); a few head layers were calibrated once, so that detections are
spread over classes and scores, and are stored in `calibrated-<architecture>.npz`. Names, shapes and
layouts are those of the frameworks' own checkpoints (`variables-<architecture>.tsv`); convolution
kernels are HWIO, and `fc6/W` rows run channel-first for TensorPack, channel-last for AWS Samples.
VARIANT is a folder of `variants/`: another architecture of TensorPack's model zoo.
"""

import sys
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent


def seeded(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The value of the variable `name`, from its name alone."""
    stream = np.random.RandomState(zlib.crc32(f"seed0/{name}".encode()) & 0x7FFFFFFF)
    leaf = name.rsplit("/", 1)[-1]
    if leaf == "gamma":
        base = 0.3 if "/conv3/" in name else 1.0
        return np.asarray(base * (1 + 0.1 * stream.randn(*shape)), np.float32)
    if name.endswith("variance/EMA"):
        return np.asarray(1 + 0.1 * stream.rand(*shape), np.float32)
    if leaf in ("beta", "EMA"):
        return np.asarray(stream.randn(*shape) * 0.05, np.float32)
    if leaf == "b":
        return np.zeros(shape, np.float32)
    fan_in = int(np.prod(shape[:-1]))
    scale = np.sqrt(2.0 / fan_in)
    if name.startswith("fpn/"):
        scale = np.sqrt(1.0 / fan_in)
    elif name == "rpn/class/W":
        scale = 1.5 / 8 * np.sqrt(1.0 / fan_in)
    elif name == "rpn/box/W":
        scale = 0.10 * np.sqrt(1.0 / fan_in)
    elif name == "maskrcnn/deconv/W":
        scale = np.sqrt(2.0 / shape[-1])
    return np.asarray(stream.randn(*shape) * scale, np.float32)


def weights(architecture: str, framework: str) -> dict[str, NDArray[np.float32]]:
    """Every variable of the checkpoint, by name."""
    variant = HERE / "variants" / architecture
    variables, calibration = variant / "variables.tsv", variant / "calibrated.npz"
    if not variables.exists():
        variables = HERE / f"variables-{architecture.removeprefix('joint-')}.tsv"
    if not calibration.exists():
        calibration = HERE / f"calibrated-{architecture.rpartition('-')[2]}.npz"
    calibrated = np.load(calibration)
    values = {}
    for line in variables.read_text().splitlines():
        name, shape = line.split("\t")[:2]
        size = tuple(int(n) for n in shape.strip("()").split(",") if n.strip())
        values[name] = calibrated[name] if name in calibrated else seeded(name, size)
    if framework == "aws_samples":
        rows = values["fastrcnn/fc6/W"].reshape(256, 7, 7, 1024)
        values["fastrcnn/fc6/W"] = rows.transpose(1, 2, 0, 3).reshape(12544, 1024).copy()
    return values


if __name__ == "__main__":
    np.savez(sys.argv[3], allow_pickle=False, **weights(sys.argv[1], sys.argv[2]))
