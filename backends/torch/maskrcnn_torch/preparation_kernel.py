"""Preparation of an image in Triton: resized, normalised and converted in one launch."""
# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# A kernel's arguments have Triton's types.

import torch
import triton
import triton.language as tl
from torch import Tensor

from maskrcnn_network.preparation import Preparation
from maskrcnn_server.rle import Size
from maskrcnn_torch.preparation import triple
from maskrcnn_torch.resize import fixed_weights, float_weights

BLOCK = 512


def fused_prepare(target: Tensor, image: Tensor, size: Size, rule: Preparation) -> None:
    """Resize and normalise `image` (H, W, 3) uint8 into the top left corner of `target`.

    `target` is of any float type, contiguous but for its rows.
    """
    (height, width), device = size, image.device
    lengths = (image.shape[1], width), (image.shape[0], height)
    if rule.resampling != "float":
        across = fixed_weights(*lengths[0], device, inside=True)
        down = fixed_weights(*lengths[1], device, inside=False)
        tables = [*across, *down]
    else:
        tables = [
            row for lists in lengths for pair in float_weights(*lists, device) for row in pair
        ]
    with torch.cuda.device(image.get_device()):
        prepare_kernel[(triton.cdiv(width * 3, BLOCK), height)](
            image,
            *tables,
            target,
            triple(rule.mean, device),
            triple(rule.std, device),
            image.shape[1],
            width,
            target.stride(0),
            whole=rule.resampling != "float",
            flipped=rule.channels != "RGB",
            block=BLOCK,
            enable_fp_fusion=False,
        )


@triton.jit(do_not_specialize=["old_width", "width", "row_stride"])
def prepare_kernel(
    image,
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
    row_stride,
    whole: tl.constexpr,
    flipped: tl.constexpr,
    block: tl.constexpr,
):
    """A part of one row, by the operations of `resize`."""
    place = tl.program_id(0) * block + tl.arange(0, block)
    row = tl.program_id(1)
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
    at = target + row.to(tl.int64) * row_stride + place
    tl.store(at, value.to(target.dtype.element_ty), mask=inside)
