"""RoIAlign over the levels of a feature pyramid."""

from typing import NamedTuple

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
