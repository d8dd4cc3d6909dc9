"""RoIAlign, in PyTorch's operations and as a kernel, against a plain reference."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn_network.graph.rules import Sampling
from maskrcnn_torch import roi_align as module
from maskrcnn_torch.roi_align import Pooling, gathered_roi_align

Floats = NDArray[np.float64]

SCALES = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
TENSORPACK = Sampling(samples=2)
VARIANTS = {
    "aws-samples": Sampling(samples=1, shift=0.5),
    "tensorpack": TENSORPACK,
    "torchvision": Sampling(samples=2, half_pixel=False),
    "detectron2": Sampling(samples=0),
    "adaptive-unaligned": Sampling(samples=0, half_pixel=False),
}


def a_pyramid(channels: int = 5, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    made = torch.Generator().manual_seed(1)
    maps = [torch.rand((2, channels, 48 >> i, 64 >> i), generator=made) for i in range(4)]
    return [m.to(dtype).contiguous(memory_format=torch.channels_last) for m in maps]


def some_regions(count: int = 60) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, their images and levels; some without extent, some partly outside."""
    made = np.random.default_rng(2)
    centres, extents = made.uniform(-10, 270, (count, 2)), made.exponential(50, (count, 2))
    boxes = np.concatenate([centres - extents / 2, centres + extents / 2], 1)
    boxes[0] = [20, 30, 20, 30]
    boxes[1] = [20, 30, 20, 90]
    boxes[2] = [-900, -900, -800, -700]
    boxes[3] = [-300, 20, 500, 40]
    boxes[4] = [0, 0, 256, 192]
    images, levels = made.integers(0, 2, count), made.integers(0, 4, count)
    levels[2:5] = 3
    boxes[5], levels[5] = [4, 8, 32, 64], 0  # 7 x 14 map pixels: exactly one sample, and two
    return torch.tensor(boxes, dtype=torch.float32), torch.tensor(images), torch.tensor(levels)


def bilinear(plane: Floats, y: float, x: float) -> Floats:
    """As ONNX has it; `plane` is (C, H, W)."""
    height, width = plane.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(len(plane))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = plane[:, top, left] * (1 - dx) + plane[:, top, right] * dx
    lower = plane[:, bottom, left] * (1 - dx) + plane[:, bottom, right] * dx
    return np.asarray(upper * (1 - dy) + lower * dy)


def reference(
    features: list[Tensor],
    regions: tuple[Tensor, Tensor, Tensor],
    resolution: int,
    sampling: Sampling,
) -> Floats:
    """Region after region, bin after bin, sample after sample."""
    samples, half_pixel, shift = sampling.samples, sampling.half_pixel, sampling.shift
    maps = [f.double().numpy() for f in features]
    out = np.zeros((len(regions[0]), features[0].shape[1], resolution, resolution))
    for r, (box, image, level) in enumerate(zip(*(t.tolist() for t in regions), strict=True)):
        x1, y1, x2, y2 = (v * SCALES[level] + shift - 0.5 * half_pixel for v in box)
        extent = [y2 - y1, x2 - x1] if half_pixel else [max(y2 - y1, 1.0), max(x2 - x1, 1.0)]
        bins = [e / resolution for e in extent]
        down, across = (samples or math.ceil(np.float32(b)) for b in bins)
        for i, j in np.ndindex(resolution, resolution):
            for a, b in np.ndindex(down, across):
                y = y1 + (i + (a + 0.5) / down) * bins[0]
                x = x1 + (j + (b + 0.5) / across) * bins[1]
                out[r, :, i, j] += bilinear(maps[level][image], y, x)
        out[r] /= max(1, down * across)
    return out


@pytest.mark.parametrize("sampling", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("resolution", [7, 3])
def test_regions_are_pooled_as_in_the_reference(resolution: int, sampling: Sampling) -> None:
    features, regions = a_pyramid(), some_regions()
    found = gathered_roi_align(Pooling(features, SCALES, *regions, resolution, sampling))
    expected = reference(features, regions, resolution, sampling)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_of_the_features_alone(dtype: torch.dtype) -> None:
    features, regions = a_pyramid(dtype=dtype), some_regions()
    pooling = Pooling(features, SCALES, *regions, 7, TENSORPACK)
    found = gathered_roi_align(pooling)
    in_full = gathered_roi_align(pooling._replace(features=[f.float() for f in features]))
    assert found.dtype == dtype
    assert torch.equal(found, in_full.to(dtype))


def test_little_memory_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pooling = Pooling(a_pyramid(), SCALES, *some_regions(), 7, VARIANTS["detectron2"])
    at_once = gathered_roi_align(pooling)
    monkeypatch.setattr(module, "MAX_TAPS", 1000)
    assert torch.equal(at_once, gathered_roi_align(pooling))


def test_no_regions_and_one_map_are_allowed() -> None:
    boxes, images, levels = some_regions()
    one = Pooling(a_pyramid()[2:3], SCALES[2:3], boxes, images, levels * 0, 7, TENSORPACK)
    nothing = one._replace(boxes=boxes[:0], images=images[:0], levels=levels[:0])
    assert gathered_roi_align(nothing).shape == (0, 5, 7, 7)
    of_all = one._replace(features=a_pyramid(), scales=SCALES, levels=levels * 0 + 2)
    assert torch.equal(gathered_roi_align(one), gathered_roi_align(of_all))


def compare_roi_align() -> None:
    """Raises if both differ, as the others do; some maps' sizes are 1, or multiples of 16."""
    from maskrcnn_torch.roi_kernel import fused_roi_align

    regions = some_regions(8)
    full, half = (torch.float32, 2e-5), (torch.float16, 1e-3)
    cases = [(full, variant) for variant in VARIANTS.values()] + [(half, TENSORPACK)]
    for (dtype, tolerance), sampling in cases:
        features = a_pyramid(dtype=dtype)
        features[2] = features[2][:, :, :1, :1]
        pooling = Pooling(features, SCALES, *regions, 2, sampling)
        found, expected = fused_roi_align(pooling), gathered_roi_align(pooling)
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)
        assert found.is_contiguous(memory_format=torch.channels_last)
    boxes, images, levels = (t[:3] for t in regions)
    few = Pooling(a_pyramid()[:1], SCALES[:1], boxes, images, levels * 0, 2, TENSORPACK)
    torch.testing.assert_close(fused_roi_align(few), gathered_roi_align(few), atol=2e-5, rtol=0)
    nowhere = few._replace(boxes=boxes * float("nan"), sampling=VARIANTS["detectron2"])
    nothing = fused_roi_align(nowhere)
    assert not nothing.any(), "coordinates that are no numbers read nothing"
