"""Operations on lists of candidates in PyTorch, with fixed shapes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from maskrcnn_network.graph.cropping import CropsByRoiAlign
from maskrcnn_network.graph.operations import DROPPED, LOWEST, Slots
from maskrcnn_torch import suppression
from maskrcnn_torch.kernels import Kernels


class CandidateOperations(CropsByRoiAlign):
    """With `kernels`, nothing waits for the device."""

    device: torch.device
    kernels: Kernels | None

    def take(self, x: Tensor, index: Tensor) -> Tensor:
        rest = x.shape[2:]
        wide = index.view(*index.shape, *[1] * len(rest)).expand(*index.shape, *rest)
        return x.gather(1, wide)

    def top(self, scores: Tensor, count: int | Tensor) -> tuple[Tensor, Tensor]:
        return self.top_each([scores], count)[0]

    def top_each(self, lists: Sequence[Tensor], count: int | Tensor) -> list[tuple[Tensor, Tensor]]:
        if self.kernels:
            return self.kernels.top_each(lists, int(count))
        return [suppression.top(scores, int(count)) for scores in lists]

    def suppress(self, boxes: Tensor, scores: Tensor, keep: int | Tensor, iou: float) -> Tensor:
        if self.kernels:
            return _in_place(scores, *self.survivors(boxes, scores, keep, iou))
        width = int((scores >= LOWEST).sum(-1).max())
        best, places = suppression.top(scores, width)
        present = best >= LOWEST
        stays = suppression.suppress(self.take(boxes, places), present, iou, int(keep))
        stays &= stays.cumsum(-1) <= keep
        left = torch.where(stays, best, DROPPED)
        return torch.full_like(scores, DROPPED).scatter(-1, places, left)

    def suppress_ranked(
        self, boxes: Tensor, scores: Tensor, keep: int | Tensor, iou: float
    ) -> Tensor:
        if not self.kernels or scores.shape[-1] > suppression.MAX_SHORT:
            return self.suppress(boxes, scores, keep, iou)
        places = self.kernels.suppress(boxes, scores >= LOWEST, iou, int(keep))
        return _in_place(scores, *_picked(scores, places))

    def survivors(
        self, boxes: Tensor, scores: Tensor, keep: int | Tensor, iou: float
    ) -> tuple[Tensor, Tensor]:
        if not self.kernels:
            return super().survivors(boxes, scores, keep, iou)
        best, places = self.top(scores, scores.shape[-1])
        ranked = self.take(boxes, places)
        ranks = self.kernels.suppress(ranked, best >= LOWEST, iou, int(keep))
        kept, ranks = _picked(best, ranks)
        return kept, torch.where(kept >= LOWEST, places.gather(1, ranks), 0)

    def compact(self, scores: Tensor, *values: Tensor) -> tuple[Slots, list[Tensor]]:
        """All entries, including dropped ones."""
        count, width = scores.shape
        images = torch.arange(count * width, device=self.device) // width
        lists = [x.reshape(-1, *x.shape[2:]) for x in (scores, *values)]
        return Slots(images, width, lists[0] >= LOWEST), lists

    def spread(self, values: Tensor, slots: Slots, missing: float) -> Tensor:
        present = slots.places.view(-1, *[1] * (values.dim() - 1))
        return torch.where(present, values, missing).view(-1, slots.width, *values.shape[1:])


def _picked(scores: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """The scores (L, N) at these places (L, K), and the places; -1 is `DROPPED`, at place 0."""
    known = places.clamp(min=0)
    return torch.where(places >= 0, scores.gather(1, known), DROPPED), known


def _in_place(scores: Tensor, kept: Tensor, places: Tensor) -> Tensor:
    """The kept scores (L, K) at their places (L, K) in lists like `scores`, all else dropped."""
    # The maximum, since missing ones are at place 0, too.
    return torch.full_like(scores, DROPPED).scatter_reduce(-1, places, kept, "amax")
