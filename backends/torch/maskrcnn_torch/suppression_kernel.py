"""Greedy suppression in Triton: one program for each list."""
# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# A kernel's arguments have Triton's types.

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 32
"""Number of candidates that are settled at a time."""
CHUNK = 128
"""Number of kept boxes that these are compared with at a time."""


def fused_suppress(boxes: Tensor, present: Tensor, iou_threshold: float, keep: int) -> Tensor:
    """Places of the first `keep` boxes that greedy suppression keeps, (L, keep) int64.

    `boxes` (L, N, 4) float32 are sorted, best first; those not `present` (L, N) come last. Missing
    places are -1. Equals `suppress_exactly`, without waiting for the device.
    """
    lists, count = present.shape
    places = torch.full((lists, keep), -1, dtype=torch.int64, device=boxes.device)
    if not (lists and count and keep):
        return places
    kept = torch.empty((lists, keep, 4), dtype=torch.float32, device=boxes.device)
    with torch.cuda.device(boxes.get_device()):
        suppress_kernel[(lists,)](
            boxes.contiguous(),
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
