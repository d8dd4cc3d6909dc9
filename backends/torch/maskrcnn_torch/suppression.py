"""Selection of the best and non-maximum suppression, in fixed shapes.

On CUDA, only `suppress_exactly` waits for the device.
"""

import torch
from torch import Tensor

LOW_BITS = 0xFFFFFFFF
BLOCK = 256
"""Number of boxes that `suppress_exactly` settles at a time."""


def top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best `scores`, best first, and their indices, both (B, min(k, N)).

    `scores` are (B, N) float32 without NaN. On any device, the lower index of equal scores comes
    first, because unique int64 of score and index are sorted.
    """
    bits = (scores + 0.0).view(torch.int32).long()  # -0.0 is 0.0
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    places = torch.arange(scores.shape[-1], device=scores.device)
    keys = (ordered << 32) | (LOW_BITS - places)
    best = torch.topk(keys, min(k, scores.shape[-1])).values
    index = LOW_BITS - (best & LOW_BITS)
    return scores.gather(-1, index), index


def suppress_in_rounds(
    boxes: Tensor, present: Tensor, iou_threshold: float, rounds: int
) -> tuple[Tensor, Tensor]:
    """Which boxes greedy suppression keeps, (..., N) bool, and whether that is settled, () bool.

    `boxes` (..., N, 4) float32 are sorted, best first, with x1 <= x2 and y1 <= y2; those not
    `present`, (..., N) bool, are ignored. Chains of more than `rounds` boxes, each overlapping the
    next, are not settled, and need `suppress_exactly`.

    Uses a matrix of all overlaps: several times (N, N) float32. A box stays if no better one that
    stays overlaps it. Each round computes this again; a box is right after as many rounds as its
    chain is long, and all boxes are right once a round changes nothing.
    """
    if not present.numel():
        return present, present.new_ones(())
    matrix = _matrix(boxes.reshape(-1, *boxes.shape[-2:]), iou_threshold)
    first = present.reshape(-1, 1, present.shape[-1]).to(matrix.dtype)
    matrix *= first.transpose(1, 2)
    keep, settled = _settle(matrix, first, rounds)
    return keep.view_as(present) > 0, settled


def suppress_exactly(
    boxes: Tensor, present: Tensor, iou_threshold: float, keep: int | None = None
) -> Tensor:
    """Which boxes greedy suppression keeps, (..., N) bool. Waits for the device.

    `keep`: number of kept boxes after which all others are arbitrary.
    """
    if not present.numel():
        return present
    count = present.shape[-1]
    pools = zip(boxes.reshape(-1, count, 4), present.reshape(-1, count), strict=True)
    return torch.stack([_suppress_one(*pool, iou_threshold, keep) for pool in pools]).view_as(
        present
    )


def _suppress_one(boxes: Tensor, present: Tensor, iou_threshold: float, keep: int | None) -> Tensor:
    """Settle `boxes` (N, 4) block by block; each block suppresses those behind it."""
    stays = torch.zeros_like(present)
    left, found = present.nonzero()[:, 0], 0
    while len(left) and (keep is None or found < keep):
        block, left = left[:BLOCK], left[BLOCK:]
        matrix = _matrix(boxes[None, block], iou_threshold)
        first = matrix.new_ones((1, 1, len(block)))
        kept = block[_settle(matrix, first, None)[0].flatten() > 0]
        stays[kept] = True
        found += len(kept)
        left = left[~_overlaps(boxes[kept], boxes[left], iou_threshold).any(0)]
    return stays


def _settle(matrix: Tensor, first: Tensor, rounds: int | None) -> tuple[Tensor, Tensor]:
    """The boxes that stay after `rounds` (None: until settled), (P, 1, N) of 0 and 1; if settled.

    `first`, of the same shape, are the boxes to start with. `matrix`: see `_matrix`.
    """
    keep, done = first, 0
    while True:
        before = keep
        # 1 less the number of boxes that stay and overlap this one.
        keep = torch.baddbmm(first, before, matrix, alpha=-1).relu_()
        done += 1
        if rounds is None:
            if torch.equal(keep, before):
                return keep, keep.new_ones((), dtype=torch.bool)
        elif done == rounds:
            return keep, (keep == before).all()


def _matrix(boxes: Tensor, iou_threshold: float) -> Tensor:
    """(P, N, N): 1 where the box of the row suppresses the box of the column, which is behind it.

    The type multiplies fast, and counts boxes well enough: only zero or not matters.
    """
    overlaps = _overlaps(boxes, boxes, iou_threshold).triu_(1)
    return overlaps.to(torch.float16 if boxes.is_cuda else torch.float32)


def _overlaps(boxes: Tensor, others: Tensor, iou_threshold: float) -> Tensor:
    """Whether IoU is above the threshold, (..., N, M) bool, of `boxes` with `others`.

    Operations are those of TensorFlow's and ONNX Runtime's suppression, to the last bit. A box
    without area overlaps none, because 0 / 0 is above no threshold.
    """
    x1, y1, x2, y2 = boxes[..., :, None, :].unbind(-1)
    u1, v1, u2, v2 = others[..., None, :, :].unbind(-1)
    width = torch.minimum(x2, u2).sub_(torch.maximum(x1, u1)).clamp_(min=0)
    height = torch.minimum(y2, v2).sub_(torch.maximum(y1, v1)).clamp_(min=0)
    intersection = height.mul_(width)
    union = ((y2 - y1) * (x2 - x1) + (v2 - v1) * (u2 - u1)).sub_(intersection)
    return intersection.div_(union) > iou_threshold
