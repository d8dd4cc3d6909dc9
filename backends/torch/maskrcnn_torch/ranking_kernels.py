"""Selection of the best of many lists by one sort, between two kernels in Triton."""
# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# A kernel's arguments have Triton's types.

from collections.abc import Sequence
from itertools import accumulate

import torch
import triton
import triton.language as tl
from torch import Tensor

from maskrcnn_network.graph.operations import DROPPED
from maskrcnn_torch.suppression import top

BLOCK = 1024
PLACE_BITS = tl.constexpr(24)
"""Number of a key's lowest bits, which hold the place in the list, the first being the largest."""
MAX_PLACE = tl.constexpr((1 << 24) - 1)
LIST_BITS = tl.constexpr(56)
"""Number of bits below the number of the list; those between hold the score."""
MAX_LISTS = 255
"""Maximum number of lists that the bits above the score tell apart."""


def fused_top_each(lists: Sequence[Tensor], k: int) -> list[tuple[Tensor, Tensor]]:
    """The k best scores of each image in each list, best first, and their places, both (B, k).

    Each list is (B, N) float32 without NaN. The earlier of equal scores comes first. Missing ones
    are `DROPPED`, at place 0.
    """
    batch, sizes = len(lists[0]), [scores.shape[1] for scores in lists]
    if batch * len(lists) > MAX_LISTS or max(sizes) > MAX_PLACE.value:
        return [top(scores, k) for scores in lists]
    device, total = lists[0].device, sum(sizes)
    keys = torch.empty((batch, total), dtype=torch.int64, device=device)
    starts = [0, *accumulate(sizes)]
    found = [
        (
            torch.empty((batch, k), dtype=torch.float32, device=device),
            torch.empty((batch, k), dtype=torch.int64, device=device),
        )
        for _ in sizes
    ]
    with torch.cuda.device(lists[0].get_device()):
        for number, (scores, size, start) in enumerate(zip(lists, sizes, starts, strict=False)):
            pack_kernel[(triton.cdiv(size, BLOCK), batch)](
                scores.contiguous(), keys, size, start, total, number, len(sizes), block=BLOCK
            )
        ordered = torch.sort(keys.view(-1), descending=True).values
        for (scores, places), size, start in zip(found, sizes, starts, strict=False):
            unpack_kernel[(triton.cdiv(k, BLOCK), batch)](
                ordered, scores, places, size, start, total, k, DROPPED, block=BLOCK
            )
    return found


@triton.jit(do_not_specialize=["size", "start", "total", "number", "numbers"])
def pack_kernel(scores, keys, size, start, total, number, numbers, block: tl.constexpr):
    """The keys of a list, which sort its scores behind those of the lists before it."""
    image = tl.program_id(1)
    place = tl.program_id(0) * block + tl.arange(0, block)
    inside = place < size
    score = tl.load(scores + image.to(tl.int64) * size + place, mask=inside, other=0.0)
    bits = tl.where(score == 0.0, 0.0, score).to(tl.int32, bitcast=True)  # -0.0 is 0.0
    ordered = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.int64)
    above = 127 - (image * numbers + number)
    key = (above.to(tl.int64) << LIST_BITS) + (ordered << PLACE_BITS)
    key += MAX_PLACE - place
    tl.store(keys + image.to(tl.int64) * total + start + place, key, mask=inside)


@triton.jit(do_not_specialize=["size", "start", "total", "k"])
def unpack_kernel(keys, scores, places, size, start, total, k, missing, block: tl.constexpr):
    """The best scores of a list, and their places, from the sorted keys of all lists."""
    image = tl.program_id(1).to(tl.int64)
    rank = tl.program_id(0) * block + tl.arange(0, block)
    there = rank < size
    key = tl.load(keys + image * total + start + rank, mask=there, other=0)
    ordered = (key >> PLACE_BITS).to(tl.int32)
    bits = tl.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered)
    score = tl.where(there, bits.to(tl.float32, bitcast=True), missing)
    place = tl.where(there, MAX_PLACE - (key & MAX_PLACE), 0)
    tl.store(scores + image * k + rank, score, mask=rank < k)
    tl.store(places + image * k + rank, place, mask=rank < k)
