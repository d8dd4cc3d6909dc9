"""Selection of the best, and non-maximum suppression, in PyTorch's operations."""

import torch
from torch import Tensor
from torch.nn import functional

from maskrcnn_network.graph.operations import DROPPED

LOW_BITS = 0xFFFFFFFF
MAX_SHORT = 8192
"""Maximum length of a list whose overlaps a kernel computes all at once, one bit each."""
BLOCK = 256
"""Number of boxes that `suppress` settles at a time."""


def top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best `scores`, best first, and their places, both (B, k).

    `scores` are (B, N) float32 without NaN. On any device, the earlier of equal scores comes first,
    because unique int64 of score and place are sorted. Missing ones are `DROPPED`, at place 0.
    """
    bits = (scores + 0.0).view(torch.int32).long()  # -0.0 is 0.0
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    places = torch.arange(scores.shape[-1], device=scores.device)
    keys = (ordered << 32) | (LOW_BITS - places)
    best = torch.topk(keys, min(k, scores.shape[-1])).values
    index = LOW_BITS - (best & LOW_BITS)
    missing = 0, k - index.shape[1]
    found = functional.pad(scores.gather(-1, index), missing, value=DROPPED)
    return found, functional.pad(index, missing)


def suppress(
    boxes: Tensor, present: Tensor, iou_threshold: float, keep: int | None = None
) -> Tensor:
    """Which boxes greedy suppression keeps, (..., N) bool. Waits for the device.

    `boxes` (..., N, 4) float32 are sorted, best first, with x1 <= x2 and y1 <= y2; those not
    `present`, (..., N) bool, are ignored.
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
        kept = block[_settled(boxes[block], iou_threshold)]
        stays[kept] = True
        found += len(kept)
        left = left[~_overlaps(boxes[kept], boxes[left], iou_threshold).any(0)]
    return stays


def _settled(boxes: Tensor, iou_threshold: float) -> Tensor:
    """Which boxes (N, 4) greedy suppression keeps, (N,) bool.

    A box stays if no better one that stays overlaps it. Each round computes this again; a box is
    right after as many rounds as its chain of overlaps is long, and all boxes are right once a
    round changes nothing.
    """
    overlaps = _overlaps(boxes, boxes, iou_threshold).triu_(1).float()
    keep = overlaps.new_ones((1, len(boxes)))
    while True:
        before = keep
        keep = (before @ overlaps == 0).float()
        if torch.equal(keep, before):
            return keep[0] > 0


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
