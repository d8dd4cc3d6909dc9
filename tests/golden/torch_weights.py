#!/usr/bin/env python3
"""Put the seeded checkpoint under the names and layouts of torchvision or Detectron2.

    torch_weights.py torchvision|detectron2 ARCHITECTURE OUT.npz

The variables are those of `make_weights.weights(..., "tensorpack")`: kernels HWIO, conv0 for BGR
input, background the first of 81 classes, fc6 rows channel-first. Both frameworks keep kernels
OIHW, transposed kernels (in, out, height, width) and matrices (out, in), and flatten fc6's input
channel-first, too. `load_state_dict(strict=True)` accepts the names where the model's own
`num_batches_tracked` and `pixel_mean` are added.
"""

import sys
import zlib
from pathlib import Path

import numpy as np
from make_weights import weights
from numpy.typing import NDArray

PIXEL_STD_BGR = np.asarray([57.375, 57.12, 58.395], np.float32)
"""What TensorPack divides pixels by."""

HERE = Path(__file__).resolve().parent
Variables = dict[str, NDArray[np.float32]]

_PREDICTOR = "roi_heads.box_predictor"
_BN = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "mean/EMA",
    "running_var": "variance/EMA",
}


def state_dict(framework: str, architecture: str) -> Variables:
    """Every weight of a `framework`'s model with 80 classes, by its name there.

    `framework`: "torchvision" has "resnet50", "resnet101" (`MaskRCNN(..., num_classes=81)`) and
    "resnet50_v2" (`maskrcnn_resnet50_fpn_v2`); "detectron2" has "resnet50", "resnet101" (with
    `PIXEL_STD` as TensorPack's) and "caffe-resnet50" (`PIXEL_STD` 1, which conv0 makes up for).
    `KeyError` for another.
    """
    return {
        ("torchvision", "resnet50"): lambda: _torchvision(weights("resnet50", "tensorpack")),
        ("torchvision", "resnet101"): lambda: _torchvision(weights("resnet101", "tensorpack")),
        ("torchvision", "resnet50_v2"): lambda: _torchvision_v2(weights("resnet50", "tensorpack")),
        ("detectron2", "resnet50"): lambda: _detectron2(weights("resnet50", "tensorpack")),
        ("detectron2", "resnet101"): lambda: _detectron2(weights("resnet101", "tensorpack")),
        ("detectron2", "caffe-resnet50"): lambda: _detectron2(
            _unscaled(weights("resnet50", "tensorpack"))
        ),
    }[framework, architecture]()


def translated(framework: str, values: Variables) -> Variables:
    """TensorPack's variables `values` under the names and in the layouts of `framework`."""
    return {"torchvision": _torchvision, "detectron2": _detectron2}[framework](values)


def _unscaled(values: Variables) -> Variables:
    """`values`, with a conv0 for pixels that nothing divides."""
    return values | {"conv0/W": values["conv0/W"] / PIXEL_STD_BGR[:, None]}


def _torchvision(values: Variables) -> Variables:
    found = _torchvision_body(values)
    for i, level in enumerate((2, 3, 4, 5)):
        found |= _conv(values, f"fpn/lateral_1x1_c{level}", f"backbone.fpn.inner_blocks.{i}.0")
        found |= _conv(values, f"fpn/posthoc_3x3_p{level}", f"backbone.fpn.layer_blocks.{i}.0")
        found |= _conv(values, f"maskrcnn/fcn{i}", f"roi_heads.mask_head.{i}.0")
    found |= _conv(values, "rpn/conv0", "rpn.head.conv.0.0")
    found |= _conv(values, "rpn/class", "rpn.head.cls_logits")
    found |= _conv(values, "rpn/box", "rpn.head.bbox_pred")
    found |= _linear(values, "fastrcnn/fc6", "roi_heads.box_head.fc6")
    found |= _linear(values, "fastrcnn/fc7", "roi_heads.box_head.fc7")
    found |= _linear(values, "fastrcnn/outputs/class", "roi_heads.box_predictor.cls_score")
    found |= _linear(values, "fastrcnn/outputs/box", "roi_heads.box_predictor.bbox_pred")
    found |= _deconv(values, "maskrcnn/deconv", "roi_heads.mask_predictor.conv5_mask")
    masks = _conv(values, "maskrcnn/conv", "roi_heads.mask_predictor.mask_fcn_logits")
    return _contiguous(found | {name: _with_background(kept) for name, kept in masks.items()})


def _torchvision_body(values: Variables) -> Variables:
    """The ResNet, whose input is RGB."""
    found = {"backbone.body.conv1.weight": _oihw(values["conv0/W"])[:, ::-1]}
    found |= _bn(values, "conv0/bn", "backbone.body.bn1")
    for name, kernel in _bottlenecks(values):
        group, block, conv = _parts(name)
        prefix = f"backbone.body.layer{group + 1}.{block}"
        inner, norm = f"{prefix}.{conv}", f"{prefix}.bn{conv[-1]}"
        if conv == "convshortcut":
            inner, norm = f"{prefix}.downsample.0", f"{prefix}.downsample.1"
        found[f"{inner}.weight"] = _oihw(kernel)
        found |= _bn(values, f"{name}/bn", norm)
    return found


def _detectron2(values: Variables) -> Variables:
    found = {"backbone.bottom_up.stem.conv1.weight": _oihw(values["conv0/W"])}
    found |= _bn(values, "conv0/bn", "backbone.bottom_up.stem.conv1.norm")
    for name, kernel in _bottlenecks(values):
        group, block, conv = _parts(name)
        conv = "shortcut" if conv == "convshortcut" else conv
        inner = f"backbone.bottom_up.res{group + 2}.{block}.{conv}"
        found[f"{inner}.weight"] = _oihw(kernel)
        found |= _bn(values, f"{name}/bn", f"{inner}.norm")
    for i, level in enumerate((2, 3, 4, 5)):
        found |= _conv(values, f"fpn/lateral_1x1_c{level}", f"backbone.fpn_lateral{level}")
        found |= _conv(values, f"fpn/posthoc_3x3_p{level}", f"backbone.fpn_output{level}")
        found |= _conv(values, f"maskrcnn/fcn{i}", f"roi_heads.mask_head.mask_fcn{i + 1}")
    found |= _conv(values, "rpn/conv0", "proposal_generator.rpn_head.conv")
    found |= _conv(values, "rpn/class", "proposal_generator.rpn_head.objectness_logits")
    found |= _conv(values, "rpn/box", "proposal_generator.rpn_head.anchor_deltas")
    found |= _linear(values, "fastrcnn/fc6", "roi_heads.box_head.fc1")
    found |= _linear(values, "fastrcnn/fc7", "roi_heads.box_head.fc2")
    found |= _deconv(values, "maskrcnn/deconv", "roi_heads.mask_head.deconv")
    found |= _conv(values, "maskrcnn/conv", "roi_heads.mask_head.predictor")
    classes = _linear(values, "fastrcnn/outputs/class", "roi_heads.box_predictor.cls_score")
    boxes = _linear(values, "fastrcnn/outputs/box", "roi_heads.box_predictor.bbox_pred")
    found |= {name: np.roll(rows, -1, axis=0) for name, rows in classes.items()}
    found |= {name: rows[4:] for name, rows in boxes.items()}
    return _contiguous(found)


def _bottlenecks(values: Variables) -> list[tuple[str, NDArray[np.float32]]]:
    """Names such as `group0/block1/conv2`, with the kernel of each."""
    return [
        (name.removesuffix("/W"), kernel)
        for name, kernel in values.items()
        if name.startswith("group") and name.endswith("/W")
    ]


def _parts(name: str) -> tuple[int, int, str]:
    group, block, conv = name.split("/")
    return int(group.removeprefix("group")), int(block.removeprefix("block")), conv


def _oihw(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    return kernel.transpose(3, 2, 0, 1)


def _conv(values: Variables, source: str, target: str) -> Variables:
    return {
        f"{target}.weight": _oihw(values[f"{source}/W"]),
        f"{target}.bias": values[f"{source}/b"],
    }


def _deconv(values: Variables, source: str, target: str) -> Variables:
    """TensorPack's (height, width, out, in) as (in, out, height, width)."""
    return _conv(values, source, target)


def _linear(values: Variables, source: str, target: str) -> Variables:
    return {f"{target}.weight": values[f"{source}/W"].T, f"{target}.bias": values[f"{source}/b"]}


def _bn(values: Variables, source: str, target: str) -> Variables:
    return {f"{target}.{theirs}": values[f"{source}/{ours}"] for theirs, ours in _BN.items()}


def _with_background(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """torchvision has a mask of the background, too, and never reads it."""
    return np.concatenate([np.zeros_like(rows[:1]), rows])


def _contiguous(values: Variables) -> Variables:
    return {name: np.ascontiguousarray(value, np.float32) for name, value in values.items()}


def _torchvision_v2(values: Variables) -> Variables:
    """ResNet and kernels of the same shape as resnet50's; `_seeded` for what only v2 has."""
    found = _torchvision(values)
    found = {name: value for name, value in found.items() if not _replaced_in_v2(name)}
    for i in range(4):
        for part in ("inner", "layer"):
            prefix = f"backbone.fpn.{part}_blocks.{i}"
            del found[f"{prefix}.0.bias"]
            found |= _seeded_bn(f"{prefix}.1", (256,))
        del found[f"roi_heads.mask_head.{i}.0.bias"]
        found |= _seeded_bn(f"roi_heads.mask_head.{i}.1", (256,))
        found |= _seeded_kernel(f"roi_heads.box_head.{i}.0.weight", (256, 256, 3, 3))
        found |= _seeded_bn(f"roi_heads.box_head.{i}.1", (256,))
    found |= _seeded_kernel("rpn.head.conv.1.0.weight", (256, 256, 3, 3))
    found |= _seeded_kernel("roi_heads.box_head.5.weight", (1024, 12544))
    found |= _seeded_kernel(f"{_PREDICTOR}.cls_score.weight", (81, 1024), 0.1)
    found |= _seeded_kernel(f"{_PREDICTOR}.bbox_pred.weight", (324, 1024), 0.025)
    found[f"{_PREDICTOR}.cls_score.weight"][0] = 0
    found |= {
        f"{_PREDICTOR}.cls_score.bias": _calibrated()[f"{_PREDICTOR}.cls_score.bias"],
        f"{_PREDICTOR}.bbox_pred.bias": np.zeros(324, np.float32),
        "rpn.head.conv.1.0.bias": np.zeros(256, np.float32),
        "roi_heads.box_head.5.bias": np.zeros(1024, np.float32),
    }
    return _contiguous(found)


def _replaced_in_v2(name: str) -> bool:
    return name.startswith(("roi_heads.box_head.", _PREDICTOR))


def _calibrated() -> Variables:
    """The class biases, for which each class is the best of about 1 % of chelsea.png's regions."""
    return dict(np.load(HERE / "calibrated-resnet50_v2.npz"))


def _stream(name: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(f"seed0/{name}".encode()) & 0x7FFFFFFF)


def _seeded_kernel(name: str, shape: tuple[int, ...], scale: float | None = None) -> Variables:
    """What goes into an output sums to 0, so that outputs differ between regions.

    Without `scale`, that for ReLU.
    """
    kernel = _stream(name).randn(*shape) * (scale or np.sqrt(2.0 / np.prod(shape[1:])))
    kernel -= kernel.mean(axis=tuple(range(1, len(shape))), keepdims=True)
    return {name: np.asarray(kernel, np.float32)}


def _seeded_bn(prefix: str, shape: tuple[int, ...]) -> Variables:
    """Near the identity."""
    centre = {"weight": (1.0, 0.1), "bias": (0.0, 0.05), "running_mean": (0.0, 0.05)}
    found = {
        f"{prefix}.{leaf}": mean + spread * _stream(f"{prefix}.{leaf}").randn(*shape)
        for leaf, (mean, spread) in centre.items()
    }
    found[f"{prefix}.running_var"] = 1 + 0.1 * _stream(f"{prefix}.running_var").rand(*shape)
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


if __name__ == "__main__":
    np.savez(sys.argv[3], allow_pickle=False, **state_dict(sys.argv[1], sys.argv[2]))
