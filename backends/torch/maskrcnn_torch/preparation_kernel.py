"""Preparation of an image in Triton: resized, normalised and converted in one launch."""
# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# A kernel's arguments have Triton's types.

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from maskrcnn_network.preparation import Preparation
from maskrcnn_server.rle import Size
from maskrcnn_torch.preparation import constant
from maskrcnn_torch.resize import MAX_CACHED, fixed_weights, float_weights

BLOCK = 512


def fused_prepare(target: Tensor, images: Tensor, size: Size, rule: Preparation) -> None:
    """Resize and normalise `images` (n, H, W, 3) uint8 into the top left corners of `target`.

    `target` is of any float type, contiguous but for its images and rows.
    """
    height, width = size
    whole = rule.resampling != "float"
    with torch.cuda.device(images.get_device()):
        prepare_kernel[(triton.cdiv(width * 3, BLOCK), height, len(images))](
            images,
            *_tables(tuple(images.shape[1:3]), size, images.device, whole),
            target,
            constant(rule.mean, images.device),
            constant(rule.std, images.device),
            images.shape[2],
            width,
            images.stride(0),
            target.stride(0),
            target.stride(1),
            whole=whole,
            flipped=rule.channels != "RGB",
            block=BLOCK,
            enable_fp_fusion=False,
        )


@lru_cache(MAX_CACHED)
def _tables(old: Size, new: Size, device: torch.device, whole: bool) -> tuple[Tensor, ...]:
    """The two old places around each new one and their weights, across and then down."""
    (old_height, old_width), (height, width) = old, new
    if whole:
        across = fixed_weights(old_width, width, device, inside=True)
        return (*across, *fixed_weights(old_height, height, device, inside=False))
    lists = (*float_weights(old_width, width, device), *float_weights(old_height, height, device))
    return tuple(row for pair in lists for row in pair)


@triton.jit(do_not_specialize=["old_width", "width", "old_stride", "stride", "row_stride"])
def prepare_kernel(
    images,
    left,
    right,
    to_left,
    to_right,
    above,
    below,
    to_above,
    to_below,
    target,
    mean,
    std,
    old_width,
    width,
    old_stride,
    stride,
    row_stride,
    whole: tl.constexpr,
    flipped: tl.constexpr,
    block: tl.constexpr,
):
    """A part of one row of one image, by the operations of `resize`."""
    place = tl.program_id(0) * block + tl.arange(0, block)
    row = tl.program_id(1)
    which = tl.program_id(2).to(tl.int64)
    image = images + which * old_stride
    inside = place < width * 3
    column, channel = place // 3, place % 3
    source = 2 - channel if flipped else channel
    x1 = tl.load(left + column, mask=inside, other=0) * 3 + source
    x2 = tl.load(right + column, mask=inside, other=0) * 3 + source
    w1 = tl.load(to_left + column, mask=inside, other=0)
    w2 = tl.load(to_right + column, mask=inside, other=0)
    upper = image + tl.load(above + row).to(tl.int64) * old_width * 3
    lower = image + tl.load(below + row).to(tl.int64) * old_width * 3
    v1, v2 = tl.load(to_above + row), tl.load(to_below + row)
    a1 = tl.load(upper + x1, mask=inside, other=0).to(w1.dtype) * w1
    a2 = tl.load(upper + x2, mask=inside, other=0).to(w1.dtype) * w2
    b1 = tl.load(lower + x1, mask=inside, other=0).to(w1.dtype) * w1
    b2 = tl.load(lower + x2, mask=inside, other=0).to(w1.dtype) * w2
    if whole:
        high, low = (a1 + a2) >> 4, (b1 + b2) >> 4
        value = ((((high * v1) >> 16) + ((low * v2) >> 16) + 2) >> 2).to(tl.float32)
    else:
        value = (a1 + a2) * v1 + (b1 + b2) * v2
    value -= tl.load(mean + channel)
    value = tl.div_rn(value, tl.load(std + channel))
    at = target + which * stride + row.to(tl.int64) * row_stride + place
    tl.store(at, value.to(target.dtype.element_ty), mask=inside)
