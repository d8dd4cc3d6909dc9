"""RoIAlign in Triton: one launch for all levels."""
# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# A kernel's arguments have Triton's types.

import torch
import triton
import triton.language as tl
from torch import Tensor

from maskrcnn_torch.roi_align import MAX_SAMPLES, Pooling

MAX_LEVELS = 4

SIZES = [f"{side}{level}" for level in range(MAX_LEVELS) for side in ("height", "width")]
"""Arguments that change from image to image, for whose values no special kernels are compiled."""
TENSORS = ["boxes", "images", "levels"]
"""Arguments for whose alignment no special kernels are compiled."""


def fused_roi_align(pooling: Pooling) -> Tensor:
    """Like `gathered_roi_align` in float32, without waiting for the device."""
    features, scales, boxes, images, levels, resolution, sampling = pooling
    if len(features) > MAX_LEVELS:
        raise ValueError(f"RoIAlign takes {MAX_LEVELS} feature maps at most, not {len(features)}")
    channels = features[0].shape[1]
    pooled = torch.empty(
        (len(boxes), channels, resolution, resolution),
        dtype=features[0].dtype,
        device=features[0].device,
        memory_format=torch.channels_last,
    )
    if not len(boxes):
        return pooled
    missing = MAX_LEVELS - len(features)
    maps = [feature.contiguous(memory_format=torch.channels_last) for feature in features]
    maps += maps[:1] * missing
    with torch.cuda.device(features[0].get_device()):
        roi_kernel[(len(boxes), resolution * resolution)](
            *maps,
            boxes.contiguous(),
            images.contiguous(),
            levels.contiguous(),
            pooled,
            *(side for feature in maps for side in feature.shape[2:]),
            *scales,
            *scales[:1] * missing,
            sampling.shift - 0.5 if sampling.half_pixel else sampling.shift,
            resolution=resolution,
            samples=sampling.samples,
            max_samples=MAX_SAMPLES,
            half_pixel=sampling.half_pixel,
            channels=channels,
            block=triton.next_power_of_2(channels),
            num_warps=2,
            num_stages=1,
            enable_fp_fusion=False,
        )
    return pooled


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=TENSORS)
def roi_kernel(
    map0,
    map1,
    map2,
    map3,
    boxes,
    images,
    levels,
    pooled,
    height0,
    width0,
    height1,
    width1,
    height2,
    width2,
    height3,
    width3,
    scale0,
    scale1,
    scale2,
    scale3,
    offset,
    resolution: tl.constexpr,
    samples: tl.constexpr,
    max_samples: tl.constexpr,
    half_pixel: tl.constexpr,
    channels: tl.constexpr,
    block: tl.constexpr,
):
    """Pool all channels of one bin of one region. Maps and `pooled` are NHWC."""
    region = tl.program_id(0).to(tl.int64)
    cell = tl.program_id(1)
    level = tl.load(levels + region)
    source, height, width, scale = map0, height0, width0, scale0
    if level == 1:
        source, height, width, scale = map1, height1, width1, scale1
    if level == 2:
        source, height, width, scale = map2, height2, width2, scale2
    if level == 3:
        source, height, width, scale = map3, height3, width3, scale3
    source += tl.load(images + region) * height * width * channels

    box = boxes + region * 4
    x, step_x, across = _axis(
        box, scale, offset, cell % resolution, resolution, samples, max_samples, half_pixel
    )
    y, step_y, down = _axis(
        box + 1, scale, offset, cell // resolution, resolution, samples, max_samples, half_pixel
    )

    channel = tl.arange(0, block)
    total = tl.full([block], 0.0, tl.float32)
    for j in range(down):
        sy = y + (j + 0.5) * step_y
        inside_y = (sy >= -1.0) & (sy <= height)
        sy = tl.minimum(tl.maximum(sy, 0.0), height - 1.0)
        above = sy.to(tl.int32)
        share_y = sy - above
        row_above = source + above * width * channels
        row_below = source + tl.minimum(above + 1, height - 1) * width * channels
        for i in range(across):
            sx = x + (i + 0.5) * step_x
            # False for NaN, too: nothing outside the map is read.
            inside = inside_y & (sx >= -1.0) & (sx <= width)
            seen = channel < tl.where(inside, channels, 0)
            sx = tl.minimum(tl.maximum(sx, 0.0), width - 1.0)
            left = sx.to(tl.int32)
            share_x = sx - left
            to_left = left * channels + channel
            to_right = tl.minimum(left + 1, width - 1) * channels + channel
            above_left = tl.load(row_above + to_left, mask=seen, other=0.0).to(tl.float32)
            above_right = tl.load(row_above + to_right, mask=seen, other=0.0).to(tl.float32)
            below_left = tl.load(row_below + to_left, mask=seen, other=0.0).to(tl.float32)
            below_right = tl.load(row_below + to_right, mask=seen, other=0.0).to(tl.float32)
            upper = above_left * (1 - share_x) + above_right * share_x
            lower = below_left * (1 - share_x) + below_right * share_x
            total += upper * (1 - share_y) + lower * share_y
    mean = total / tl.maximum(across * down, 1)
    target = pooled + (region * resolution * resolution + cell) * channels + channel
    tl.store(target, mean.to(pooled.dtype.element_ty), mask=channel < channels)


@triton.jit
def _axis(
    corner,
    scale,
    offset,
    place,
    resolution: tl.constexpr,
    samples: tl.constexpr,
    max_samples: tl.constexpr,
    half_pixel: tl.constexpr,
):
    """Start of the bin at this `place` along an axis, distance of its samples, and their number."""
    low = tl.load(corner) * scale + offset
    extent = tl.load(corner + 2) * scale + offset - low
    if not half_pixel:
        extent = tl.maximum(extent, 1.0)
    # Correctly rounded division, since 7 / 7 must not be more than one sample.
    size = tl.div_rn(extent, resolution * 1.0)
    if samples == 0:
        count = tl.minimum(tl.maximum(tl.ceil(size), 0.0), max_samples * 1.0).to(tl.int32)
    else:
        count = samples
    return low + place * size, size / tl.maximum(count, 1), count
