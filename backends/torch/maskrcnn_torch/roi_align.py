"""RoIAlign over the levels of a feature pyramid."""

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional

MAX_SAMPLES = 1024
"""Adaptive samples of a bin along an axis. Boxes within their image never need as many."""
MAX_TAPS = 1 << 22
"""Weighted map places that the fallback holds at a time: 48 MiB of indices and weights."""


def roi_align(
    features: list[Tensor],
    scales: list[float],
    boxes: Tensor,
    images: Tensor,
    levels: Tensor,
    resolution: int,
    samples: int,
    half_pixel: bool,
    shift: float,
) -> Tensor:
    """The features of every region, (R, C, resolution, resolution) channels_last.

    `features` are up to four maps (B, C, H, W) and `scales` their sizes over the image's; `boxes`
    (R, 4) float32 are in the image's coordinates, `images` and `levels` (R,) int64 say which map
    each reads. A box is scaled, then moved by `shift`, in map pixels.

    Semantics are those of ONNX RoiAlign, mode avg: `half_pixel` or else output_half_pixel;
    `samples` per bin and axis; 0: one per map pixel, so none in a region without extent, which
    gives zeros. On CUDA, one kernel if Triton is installed; what serves without it synchronises.
    """
    arguments = (features, scales, boxes, images, levels, resolution, samples, half_pixel, shift)
    if features[0].is_cuda and has_triton():
        from maskrcnn_torch.roi_kernel import fused_roi_align

        return fused_roi_align(*arguments)
    return gathered_roi_align(*arguments)


@cache
def has_triton() -> bool:
    """Whether Triton is installed."""
    return find_spec("triton") is not None


def gathered_roi_align(
    features: list[Tensor],
    scales: list[float],
    boxes: Tensor,
    images: Tensor,
    levels: Tensor,
    resolution: int,
    samples: int,
    half_pixel: bool,
    shift: float,
) -> Tensor:
    """The same in PyTorch's own operations: every bin is a weighted sum of map places.

    Regions are taken together that have their level and number of samples in common.
    """
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
