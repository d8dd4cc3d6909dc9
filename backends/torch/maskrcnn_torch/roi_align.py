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
"""Maximum adaptive samples of a bin along an axis. Boxes inside their image need fewer."""
MAX_TAPS = 1 << 22
"""Maximum weighted map places in memory without Triton: 48 MiB of indices and weights."""


class Pooling(NamedTuple):
    """Regions to pool, and how."""

    features: list[Tensor]
    """Up to four maps (B, C, H, W)."""
    scales: list[float]
    """Sizes of the maps divided by the image's."""
    boxes: Tensor
    """(R, 4) float32 in the image's coordinates."""
    images: Tensor
    """(R,) int64: index of the image in the batch."""
    levels: Tensor
    """(R,) int64: index of the map that a region reads."""
    resolution: int
    sampling: Sampling


Pool: TypeAlias = Callable[[Pooling], Tensor]


def pool_on(device: torch.device, dtype: torch.dtype) -> tuple[Pool, str]:
    """The function that pools features of a type on a device, and its description.

    On CUDA, it is a kernel that does not wait for the device, if a trial shows that Triton and its
    compilers work.
    """
    if device.type != "cuda":
        return gathered_roi_align, "PyTorch"
    if find_spec("triton") is None:
        return gathered_roi_align, "PyTorch, because Triton is not installed"
    if "tensorflow" in sys.modules and "triton" not in sys.modules:
        # Both contain LLVM: importing Triton would crash the process.
        return gathered_roi_align, "PyTorch, because TensorFlow is loaded: isolate the model"
    maps = [torch.ones((1, 32, 4, 4), dtype=dtype, device=device)]
    box = torch.tensor([[0.0, 0.0, 8.0, 8.0]], device=device)
    none = torch.zeros(1, dtype=torch.int64, device=device)
    tried = Pooling(maps, [0.5], box, none, none, 2, Sampling(samples=2))
    try:
        from maskrcnn_torch.roi_kernel import fused_roi_align

        works = torch.allclose(fused_roi_align(tried), gathered_roi_align(tried))
    except Exception as error:  # a missing compiler or an old driver may raise anything
        reason = (str(error) or repr(error)).partition("\n")[0]
        return gathered_roi_align, f"PyTorch, because Triton fails: {reason}"
    if not works:
        return gathered_roi_align, "PyTorch, because Triton computes wrong numbers"
    return fused_roi_align, "Triton"


def gathered_roi_align(pooling: Pooling) -> Tensor:
    """The features of every region, (R, C, resolution, resolution) channels_last.

    A box is scaled, then moved by the sampling's shift, in map pixels. The semantics are those of
    ONNX RoiAlign in mode avg, with half_pixel or output_half_pixel. `samples` of 0 are one for each
    map pixel, therefore none in a region without extent, which is zeros.

    Every bin is a weighted sum of map places. Regions with equal levels and numbers of samples are
    computed together, for which this waits for the device.
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
    # A tensor, since CUDA multiplies by the reciprocal of a number, and 7 / 7 may exceed 1.
    size = extent / torch.full_like(extent, resolution)
    return size.ceil().clamp(0, MAX_SAMPLES).long()


def _taps(
    low: Tensor, extent: Tensor, count: int, length: int, resolution: int
) -> tuple[Tensor, Tensor]:
    """Map places of each bin along an axis, and their weights.

    Both (R, resolution, 2 * count): every sample lies between two places. Samples more than one
    place outside the map have no weight; others outside are moved to its border.
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
