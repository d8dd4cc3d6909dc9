"""RoIAlign over the levels of a feature pyramid."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from maskrcnn_network.graph.rules import Sampling

MAX_SAMPLES = 1024
"""Adaptive samples of a bin along an axis. Boxes within their image never need as many."""
MAX_TAPS = 1 << 22
"""Weighted map places that the fallback holds at a time: 48 MiB of indices and weights."""


class Pooling(NamedTuple):
    """Regions to pool, and how."""

    features: list[Tensor]
    """Up to four maps (B, C, H, W)."""
    scales: list[float]
    """Their sizes over the image's."""
    boxes: Tensor
    """(R, 4) float32 in the image's coordinates."""
    images: Tensor
    """(R,) int64."""
    levels: Tensor
    """(R,) int64: index of the map that a region reads."""
    resolution: int
    sampling: Sampling


Pool: TypeAlias = Callable[[Pooling], Tensor]


def pool_on(device: torch.device, dtype: torch.dtype) -> tuple[Pool, str]:
    """What pools features of a type on a device, and how, for people to read.

    On CUDA, a kernel that does not wait for the device, if Triton and all that it compiles with are
    there: it is tried.
    """
    if device.type != "cuda":
        return gathered_roi_align, "PyTorch"
    if find_spec("triton") is None:
        return gathered_roi_align, "PyTorch, as Triton is not installed"
    if "tensorflow" in sys.modules and "triton" not in sys.modules:
        # Both bring LLVM: to import Triton would end the process.
        return gathered_roi_align, "PyTorch, as TensorFlow was loaded before: isolate the model"
    maps = [torch.ones((1, 32, 4, 4), dtype=dtype, device=device)]
    box = torch.tensor([[0.0, 0.0, 8.0, 8.0]], device=device)
    none = torch.zeros(1, dtype=torch.int64, device=device)
    tried = Pooling(maps, [0.5], box, none, none, 2, Sampling(samples=2))
    try:
        from maskrcnn_torch.roi_kernel import fused_roi_align

        works = torch.allclose(fused_roi_align(tried), gathered_roi_align(tried))
    except Exception as error:  # whatever a missing compiler or an old driver raises
        reason = (str(error) or repr(error)).partition("\n")[0]
        return gathered_roi_align, f"PyTorch, as Triton fails: {reason}"
    if not works:
        return gathered_roi_align, "PyTorch, as Triton computes wrong numbers"
    return fused_roi_align, "Triton"


def gathered_roi_align(pooling: Pooling) -> Tensor:
    """The features of every region, (R, C, resolution, resolution) channels_last.

    A box is scaled, then moved by the sampling's shift, in map pixels. Semantics are those of ONNX
    RoiAlign, mode avg: `half_pixel` or else output_half_pixel; `samples` per bin and axis; 0: one
    per map pixel, so none in a region without extent, which gives zeros.

    Every bin is a weighted sum of map places. Regions are taken together that have their level and
    number of samples in common, for which this waits for the device.
    """
    features, scales, boxes, images, levels, resolution, sampling = pooling
    samples, half_pixel, shift = sampling.samples, sampling.half_pixel, sampling.shift
    channels, bins = features[0].shape[1], resolution * resolution
    pooled = boxes.new_zeros((len(boxes), bins, channels))
    for level, (feature, scale) in enumerate(zip(features, scales, strict=True)):
        height, width = feature.shape[2:]
        table = feature.permute(0, 2, 3, 1).reshape(-1, channels).float()
        mine = (levels == level).nonzero()[:, 0]
        corners = boxes[mine] * scale + (shift - 0.5 if half_pixel else shift)
        low, extent = corners[:, :2], corners[:, 2:] - corners[:, :2]
        if not half_pixel:
            extent = extent.clamp(min=1)
        counts = _counts(extent, resolution, samples)
        for nx, ny in torch.unique(counts, dim=0).tolist():
            taps = 4 * nx * ny
            if not taps:
                continue
            same = (counts == counts.new_tensor([nx, ny])).all(1).nonzero()[:, 0]
            for part in torch.split(same, max(1, MAX_TAPS // (bins * taps))):
                x, to_x = _taps(low[part, 0], extent[part, 0], nx, width, resolution)
                y, to_y = _taps(low[part, 1], extent[part, 1], ny, height, resolution)
                y += (images[mine[part]] * height)[:, None, None]
                places = y[:, :, None, :, None] * width + x[:, None, :, None, :]
                weights = to_y[:, :, None, :, None] * to_x[:, None, :, None, :]
                sums = functional.embedding_bag(
                    places.view(-1, taps),
                    table,
                    per_sample_weights=weights.view(-1, taps),
                    mode="sum",
                )
                pooled[mine[part]] = sums.view(-1, bins, channels)
    pooled = pooled.view(-1, resolution, resolution, channels).permute(0, 3, 1, 2)
    return pooled.to(features[0].dtype)


def _counts(extent: Tensor, resolution: int, samples: int) -> Tensor:
    """Samples of a bin along x and y, (R, 2) int64, for regions of this `extent`."""
    if samples:
        return torch.full_like(extent, samples, dtype=torch.int64)
    # Divided by a tensor: by a number, CUDA multiplies by its reciprocal, and 7 / 7 may exceed 1.
    size = extent / torch.full_like(extent, resolution)
    return size.ceil().clamp(0, MAX_SAMPLES).long()


def _taps(
    low: Tensor, extent: Tensor, count: int, length: int, resolution: int
) -> tuple[Tensor, Tensor]:
    """Along an axis, the map places each bin takes, and their weights.

    Both (R, resolution, 2 * count): every sample lies between two places. Samples more than one
    place outside the map weigh nothing, others outside are moved to its border.
    """
    steps = torch.arange(resolution * count, dtype=torch.float32, device=low.device)
    at = low[:, None] + (steps + 0.5) / count * (extent / resolution)[:, None]
    inside = (at >= -1) & (at <= length)
    at = at.clamp(0, length - 1)
    below = at.long()
    share = at - below
    places = torch.stack([below, (below + 1).clamp(max=length - 1)], -1)
    weights = torch.stack([1 - share, share], -1) * (inside / count)[..., None]
    shape = (-1, resolution, 2 * count)
    return places.view(shape), weights.view(shape)
