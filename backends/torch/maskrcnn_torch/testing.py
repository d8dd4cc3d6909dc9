"""What kernels do, in PyTorch's operations, to test on a CPU what a GPU would compute."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from maskrcnn_network.graph.operations import Pads
from maskrcnn_torch.kernels import Kernels
from maskrcnn_torch.preparation import prepare
from maskrcnn_torch.roi_align import gathered_roi_align
from maskrcnn_torch.suppression import suppress, top


def _top_each(lists: Sequence[Tensor], k: int) -> list[tuple[Tensor, Tensor]]:
    return [top(scores, k) for scores in lists]


def _suppress(boxes: Tensor, present: Tensor, iou_threshold: float, keep: int) -> Tensor:
    places = torch.full((len(boxes), keep), -1)
    for own, stays in zip(places, suppress(boxes, present, iou_threshold), strict=True):
        kept = stays.nonzero()[:keep, 0]
        own[: len(kept)] = kept
    return places


def _add_bias(x: Tensor, bias: Tensor) -> Tensor:
    return x.add_(bias[:, None, None])


def _add_upsampled(x: Tensor, coarse: Tensor) -> Tensor:
    return x.add_(functional.interpolate(coarse, scale_factor=2.0))


def _max_pool(x: Tensor, pads: Pads) -> Tensor:
    return functional.max_pool2d(functional.pad(x, (*pads, *pads)), 3, 2)


FIXED = Kernels(
    gathered_roi_align, _top_each, _suppress, _add_bias, _add_upsampled, _max_pool, prepare
)
"""Kernels for tests, which may wait for the device."""
