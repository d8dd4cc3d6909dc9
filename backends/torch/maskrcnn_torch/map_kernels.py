"""Simple operations on feature maps in Triton. PyTorch's own are slow in channels_last."""
# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# A kernel's arguments have Triton's types.

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 2048
POOLED = 512


def fused_add_bias(x: Tensor, bias: Tensor) -> Tensor:
    """Add the bias (C,) to a map (B, C, H, W), in place if it is channels_last."""
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.cuda.device(x.get_device()):
        bias_kernel[(triton.cdiv(x.numel(), BLOCK),)](
            x, bias, x.numel(), channels=x.shape[1], block=BLOCK, num_warps=8
        )
    return x


def fused_add_upsampled(x: Tensor, coarse: Tensor) -> Tensor:
    """Add a map to one of twice its height and width, in place if that is channels_last."""
    x = x.contiguous(memory_format=torch.channels_last)
    coarse = coarse.contiguous(memory_format=torch.channels_last)
    _, channels, height, width = x.shape
    with torch.cuda.device(x.get_device()):
        upsampled_kernel[(triton.cdiv(width * channels, BLOCK), height, len(x))](
            x, coarse, height, width, channels=channels, block=BLOCK, num_warps=8
        )
    return x


@triton.jit
def bias_kernel(x, bias, count, channels: tl.constexpr, block: tl.constexpr):
    """A part of the map."""
    place = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = place < count
    value = tl.load(x + place, mask=inside).to(tl.float32)
    value += tl.load(bias + place % channels, mask=inside).to(tl.float32)
    tl.store(x + place, value.to(x.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["height", "width"])
def upsampled_kernel(x, coarse, height, width, channels: tl.constexpr, block: tl.constexpr):
    """A part of one row."""
    place = tl.program_id(0) * block + tl.arange(0, block)
    row, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    inside = place < width * channels
    x += (image * height + row) * width * channels
    coarse += (image * (height // 2) + row // 2) * (width // 2) * channels
    other = place // channels // 2 * channels + place % channels
    value = tl.load(x + place, mask=inside).to(tl.float32)
    value += tl.load(coarse + other, mask=inside).to(tl.float32)
    tl.store(x + place, value.to(x.dtype.element_ty), mask=inside)


def fused_max_pool(x: Tensor, pads: tuple[int, int]) -> Tensor:
    """Maximum of 3 x 3 with stride 2 of a map (B, C, H, W) without negative numbers.

    `pads`: rows and columns of zeros before and after the map.
    """
    batch, channels, height, width = x.shape
    rows, columns = ((side + sum(pads) - 3) // 2 + 1 for side in (height, width))
    pooled = torch.empty(
        (batch, channels, rows, columns),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last,
    )
    with torch.cuda.device(x.get_device()):
        pool_kernel[(triton.cdiv(columns * channels, POOLED), rows, batch)](
            x.contiguous(memory_format=torch.channels_last),
            pooled,
            height,
            width,
            columns,
            pads[0],
            channels=channels,
            block=POOLED,
        )
    return pooled


@triton.jit(do_not_specialize=["height", "width", "columns", "before"])
def pool_kernel(
    x, pooled, height, width, columns, before, channels: tl.constexpr, block: tl.constexpr
):
    """A part of one row."""
    place = tl.program_id(0) * block + tl.arange(0, block)
    row, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    inside = place < columns * channels
    column, channel = place // channels, place % channels
    x += image * height * width * channels
    most = tl.full([block], 0.0, tl.float32)
    for i in tl.static_range(3):
        y = 2 * row - before + i + column * 0
        for j in tl.static_range(3):
            z = 2 * column - before + j
            seen = inside & (y >= 0) & (y < height) & (z >= 0) & (z < width)
            at = x + (y.to(tl.int64) * width + z) * channels + channel
            most = tl.maximum(most, tl.load(at, mask=seen, other=0.0).to(tl.float32))
    pooled += (image * tl.num_programs(1) + row) * columns * channels
    tl.store(pooled + place, most.to(pooled.dtype.element_ty), mask=inside)
