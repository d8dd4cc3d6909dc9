"""Greedy suppression in Triton: by all overlaps of a short list, or one by one of a long one."""
# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# A kernel's arguments have Triton's types.

import torch
import triton
import triton.language as tl
from torch import Tensor

from maskrcnn_torch.suppression import MAX_SHORT

WORD = tl.constexpr(32)
"""Number of boxes whose overlaps with another one are the bits of one int32."""
WORDS = 8
"""Number of such words that one program computes, for each of as many boxes as a word has bits."""
BLOCK = 32
"""Number of a long list's candidates that are settled at a time."""
CHUNK = 128
"""Number of kept boxes that these are compared with at a time."""


def fused_suppress(boxes: Tensor, present: Tensor, iou_threshold: float, keep: int) -> Tensor:
    """Places of the first `keep` boxes that greedy suppression keeps, (L, keep) int64.

    `boxes` (L, N, 4) float32 are sorted, best first; those not `present` (L, N) are ignored, and
    come last in lists of more than `MAX_SHORT`. Missing places are -1. Equals `suppress`, without
    waiting for the device.
    """
    lists, count = present.shape
    places = torch.full((lists, keep), -1, dtype=torch.int64, device=boxes.device)
    if not (lists and count and keep):
        return places
    boxes = boxes.contiguous()
    with torch.cuda.device(boxes.get_device()):
        if count <= MAX_SHORT:
            _suppress_short(boxes, present, iou_threshold, keep, places)
        else:
            kept = torch.empty((lists, keep, 4), dtype=torch.float32, device=boxes.device)
            suppress_kernel[(lists,)](
                boxes,
                present.sum(1),
                kept,
                places,
                count,
                keep,
                iou_threshold,
                block=BLOCK,
                chunk=CHUNK,
                num_warps=4,
                enable_fp_fusion=False,
            )
    return places


def _suppress_short(
    boxes: Tensor, present: Tensor, iou_threshold: float, keep: int, places: Tensor
) -> None:
    lists, count = present.shape
    words = triton.next_power_of_2(triton.cdiv(count, WORD.value))
    bits = torch.empty((lists, count, words), dtype=torch.int32, device=boxes.device)
    grid = triton.cdiv(count, WORD.value), triton.cdiv(words, WORDS), lists
    overlap_kernel[grid](
        boxes, bits, count, words, iou_threshold, words_each=WORDS, enable_fp_fusion=False
    )
    sweep_kernel[(lists,)](
        bits, present.contiguous(), places, count, keep, words=words, num_warps=max(1, words // 64)
    )


@triton.jit(do_not_specialize=["count", "words"])
def overlap_kernel(boxes, bits, count, words, threshold, words_each: tl.constexpr):
    """Mark the later boxes that each box of a block overlaps, as bits (count, words)."""
    block, part, own = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    row = block * WORD + tl.arange(0, WORD)
    column = part * words_each * WORD + tl.arange(0, words_each * WORD)
    if (part + 1) * words_each > block:  # what lies before a block is never read
        boxes += own * count * 4
        u1, v1, u2, v2 = _corners(boxes, row, row < count)
        x1, y1, x2, y2 = _corners(boxes, column, column < count)
        over = _overlaps(u1, v1, u2, v2, x1, y1, x2, y2, threshold)
        over = tl.where(row[:, None] < column[None, :], over, 0)
        over = over << (column % WORD)[None, :]
        word = tl.sum(tl.reshape(over, [WORD, words_each, WORD]), axis=2)
        number = part * words_each + tl.arange(0, words_each)
        at = bits + (own * count + row[:, None]) * words + number[None, :]
        tl.store(at, word, mask=(row < count)[:, None] & (number < words)[None, :])


@triton.jit(do_not_specialize=["count", "keep"])
def sweep_kernel(bits, present, places, count, keep, words: tl.constexpr):
    """Word after word of a list, settle its boxes, and remove what those that stay overlap."""
    own = tl.program_id(0).to(tl.int64)
    bits += own * count * words
    places += own * keep
    number, slot = tl.arange(0, words), tl.arange(0, WORD)
    every = number[:, None] * WORD + slot[None, :]
    here = tl.load(present + own * count + every, mask=every < count, other=0).to(tl.int32)
    removed = ~tl.sum((here != 0).to(tl.int32) << slot[None, :], axis=1)
    block, found = own.to(tl.int32) * 0, own.to(tl.int32) * 0
    while (block * WORD < count) & (found < keep):
        row = block * WORD + slot
        free = (~tl.sum(tl.where(number == block, removed, 0), axis=0) >> slot) & 1
        over = tl.load(bits + row * words + block, mask=row < count, other=0)
        # A box stays if no better one that stays overlaps it, until that changes nothing.
        stays, changed = free, 1
        while changed > 0:
            hit = tl.reduce(tl.where(stays > 0, over, 0), 0, _or)
            after = free & ~(hit >> slot)
            changed = tl.sum(after ^ stays, axis=0)
            stays = after
        rank = found + tl.cumsum(stays, axis=0) - 1
        tl.store(places + rank, row.to(tl.int64), mask=(stays > 0) & (rank < keep))
        found += tl.sum(stays, axis=0)
        at = bits + row[:, None] * words + number[None, :]
        behind = (stays > 0)[:, None] & (number > block)[None, :]
        removed |= tl.reduce(tl.load(at, mask=behind, other=0), 0, _or)
        block += 1


@triton.jit
def _or(a, b):
    return a | b


@triton.jit(do_not_specialize=["count", "keep"])
def suppress_kernel(
    boxes,
    presents,
    kept,
    places,
    count,
    keep,
    threshold,
    block: tl.constexpr,
    chunk: tl.constexpr,
):
    """Block after block of a list: compare with all kept boxes, then with one another."""
    own = tl.program_id(0).to(tl.int64)
    boxes += own * count * 4
    kept += own * keep * 4
    places += own * keep
    present = tl.load(presents + own).to(tl.int32)
    slot, other = tl.arange(0, block), tl.arange(0, chunk)
    start, found = present * 0, present * 0
    while (start < present) & (found < keep):
        place = start + slot
        x1, y1, x2, y2 = _corners(boxes, place, place < present)
        gone = tl.where(place < present, 0, 1)
        for first in range(0, found, chunk):
            u1, v1, u2, v2 = _corners(kept, first + other, first + other < found)
            over = _overlaps(u1, v1, u2, v2, x1, y1, x2, y2, threshold)
            gone = tl.maximum(gone, tl.max(over, axis=0))
        over = _overlaps(x1, y1, x2, y2, x1, y1, x2, y2, threshold)
        over = tl.where(slot[:, None] < slot[None, :], over, 0)
        # A box stays if no better one that stays overlaps it, until that changes nothing.
        stays, changed = 1 - gone, 1
        while changed > 0:
            after = (1 - gone) * (1 - tl.max(over * stays[:, None], axis=0))
            changed = tl.sum(tl.where(after != stays, 1, 0), axis=0)
            stays = after
        rank = found + tl.cumsum(stays, axis=0) - 1
        wanted = (stays > 0) & (rank < keep)
        tl.store(places + rank, place.to(tl.int64), mask=wanted)
        tl.store(kept + rank * 4, x1, mask=wanted)
        tl.store(kept + rank * 4 + 1, y1, mask=wanted)
        tl.store(kept + rank * 4 + 2, x2, mask=wanted)
        tl.store(kept + rank * 4 + 3, y2, mask=wanted)
        found += tl.sum(stays, axis=0)
        start += block
        tl.debug_barrier()  # the next block reads what this one kept


@triton.jit
def _corners(boxes, place, mask):
    box = boxes + place.to(tl.int64) * 4
    x1 = tl.load(box, mask=mask, other=0.0)
    y1 = tl.load(box + 1, mask=mask, other=0.0)
    x2 = tl.load(box + 2, mask=mask, other=0.0)
    y2 = tl.load(box + 3, mask=mask, other=0.0)
    return x1, y1, x2, y2


@triton.jit
def _overlaps(u1, v1, u2, v2, x1, y1, x2, y2, threshold):
    """1 where IoU is above the threshold: by the operations of `suppression._overlaps`, (N, M)."""
    width = tl.minimum(x2[None, :], u2[:, None]) - tl.maximum(x1[None, :], u1[:, None])
    height = tl.minimum(y2[None, :], v2[:, None]) - tl.maximum(y1[None, :], v1[:, None])
    common = tl.maximum(height, 0.0) * tl.maximum(width, 0.0)
    areas = ((v2 - v1) * (u2 - u1))[:, None] + ((y2 - y1) * (x2 - x1))[None, :]
    # A box without area overlaps none: 0 / 0 is above no threshold.
    return tl.where(tl.div_rn(common, areas - common) > threshold, 1, 0)
