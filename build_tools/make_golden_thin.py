#!/usr/bin/env python3
"""Compute golden files of thin networks with Detectron2's, MMDetection's or torchvision's own code.

    make_golden_thin.py OUT CASE[=SEED] ...

OUT gets a file for each CASE, such as detectron2-c4: see tests/golden/thin.py, and `golden_cases`
and `golden_mmdetection` for the cases. A CASE may also be a configuration of Detectron2, such as
configs/COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x.yaml of a clone. Needs torch, torchvision
and, for their cases, detectron2 or mmdet with mmcv.

Each layer's output is made to have mean 0 and the wanted spread on the first picture, in the
framework's own code, so that a network of random kernels finds objects of several classes.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import nn
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/golden"), str(ROOT / "build_tools")]

import golden_cases  # noqa: E402
import golden_mmdetection  # noqa: E402
import thin  # noqa: E402
from golden_cases import full_size  # noqa: E402

CASES = golden_cases.CASES | golden_mmdetection.CASES

SPREAD = {
    "objectness_logits": 1.0,
    "cls_logits": 1.0,
    "anchor_deltas": 0.3,
    "rpn.head.bbox_pred": 0.3,
    "cls_score": 1.5,
    "bbox_pred": 1.5,
    "rpn_cls": 1.0,
    "rpn_reg": 0.3,
    "fc_cls": 1.5,
    "fc_reg": 1.5,
}
"""Standard deviation of layers' outputs, by the end of their names. Others: 1."""

DEPTHWISE = re.compile(r"body\.\d+\.(block|conv)")
"""Pattern of the layers of MobileNets. Channels that hardly vary are not enlarged there, so that
rounding stays small in so many layers."""


def main(out: str, *cases: str) -> None:
    """Make the cases one after another."""
    for asked in cases:
        case, _, seed = asked.partition("=")
        path = Path(case)
        model, config, run = full_size(case) if path.suffix == ".yaml" else CASES[case]()
        stored = {"seed": np.array(int(seed or 0)), "config": np.array(config)}
        images = {name: thin.picture(_photograph(), name) for name in thin.PICTURES}
        with torch.no_grad():
            stored |= _settle(model, lambda run=run, i=images: run(i["chelsea"]), int(seed or 0))
            for name, image in images.items():
                found = run(image)
                stored |= {f"{name}/{key}": value for key, value in found.items()}
                few = sorted(found["scores"])[::-1][:3]
                print(f"{case}, {name}: {len(found['scores'])} detections, {few}")  # noqa: T201
        np.savez_compressed(Path(out) / f"{path.stem}.npz", allow_pickle=False, **stored)


def _photograph() -> Any:
    with (ROOT / "tests/images/chelsea.png").open("rb") as file:
        return np.array(PIL.Image.open(file).convert("RGB"))


def _settle(model: Any, compute: Any, seed: int) -> dict[str, Any]:
    """Give every layer its weights at its first use; returns what a file holds of them."""
    model.eval()
    random = np.random.RandomState(seed)
    scales: dict[str, Any] = {}
    shapes: dict[str, Any] = {}
    ends = [
        [part for part in block.modules() if hasattr(part, "running_mean")][-1]
        for block in model.modules()
        if getattr(block, "use_res_connect", False)
    ]
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
            shapes[f"{name}.weight"] = np.array(module.weight.shape)
            _first(module, lambda m, x, n=name: scales.update(_kernel(n, m, x, random, seed)))
        elif hasattr(module, "running_mean"):
            _first(module, lambda m, x, n=name: _statistics(n, m, x, random, ends))
        elif isinstance(module, nn.GroupNorm):
            _first(module, lambda m, _x, n=name: _affine(n, m, random))
    compute()
    others = {
        f"value/{name}": value.numpy()
        for name, value in model.state_dict().items()
        if name not in shapes
        and not name.endswith(("num_batches_tracked", "pixel_mean", "pixel_std"))
    }
    kernels = {f"kernel/{name}": shape for name, shape in shapes.items()}
    return kernels | {f"scale/{name}": values for name, values in scales.items()} | others


def _first(module: Any, change: Any) -> None:
    """Call `change` with the module and its input before its first use."""

    def hook(module: Any, inputs: Any) -> None:
        handle.remove()
        change(module, inputs[0])

    handle = module.register_forward_pre_hook(hook)


def _kernel(name: str, module: Any, x: Any, random: Any, seed: int) -> dict[str, Any]:
    """Set a kernel and its bias; returns the kernel's scale by its name."""
    own = f"{name}.weight"
    values = thin.kernel(own, tuple(module.weight.shape), seed)
    wanted = next((s for end, s in SPREAD.items() if name.endswith(end)), 1.0)
    wanted = 1.0 if name.startswith("backbone") else wanted
    kernel = torch.from_numpy(values)
    if isinstance(module, nn.Linear):
        y = functional.linear(x, kernel).T
    elif isinstance(module, nn.ConvTranspose2d):
        y = functional.conv_transpose2d(x, kernel, None, module.stride).transpose(0, 1)
    else:
        steps = module.stride, module.padding, module.dilation, module.groups
        y = functional.conv2d(x, kernel, None, *steps).transpose(0, 1)
    flat = y.flatten(1)
    floor = 0.3 if DEPTHWISE.search(name) else 1e-3
    spread = floor + flat.std(1, correction=0 if flat.shape[1] == 1 else 1)
    if isinstance(module, nn.ConvTranspose2d):
        factors = np.full(len(values), float(wanted / spread.mean()), np.float32)
        shift = -flat.mean(1) * float(factors[0])
    elif flat.shape[1] == 1:  # of the mean of a map
        factors = np.full(len(values), 1 / np.sqrt(kernel[0].numel()), np.float32)
        shift = torch.zeros(len(values))
    else:
        factors = (wanted / spread).numpy().astype(np.float32)
        shift = -flat.mean(1) * torch.from_numpy(factors)
    module.weight.copy_(torch.from_numpy(thin.scaled(values, factors)))
    if module.bias is not None:
        noise = random.randn(len(shift)).astype(np.float32)
        module.bias.copy_(shift + 0.3 * torch.from_numpy(noise) * wanted)
    return {own: factors}


def _statistics(name: str, module: Any, x: Any, random: Any, ends: Sequence[Any]) -> None:
    """Set the statistics of a batch norm to those of its input."""
    module.running_mean.copy_(x.mean((0, 2, 3)))
    floor = 0.1 if DEPTHWISE.search(name) else 1e-3
    module.running_var.copy_(x.var((0, 2, 3)) + floor)
    _affine(name, module, random, ends)


def _affine(name: str, module: Any, random: Any, ends: Sequence[Any] = ()) -> None:
    """Set scales and offsets. Blocks add little to what they take, so that rounding stays small."""
    count = len(module.weight)
    is_last = re.search(r"res\d\.\d+\.conv3|layer\d\.\d+\.[bg]n3", name) is not None
    gain = 0.3 if is_last or module in ends else 1.0
    scales = gain * random.uniform(0.5, 1.5, count)
    module.weight.copy_(torch.from_numpy(scales.astype(np.float32)))
    module.bias.copy_(torch.from_numpy(0.3 * random.randn(count).astype(np.float32)))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
