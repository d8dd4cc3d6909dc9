"""A network with its weights on one device, ready to run."""
# mypy: disable-error-code="no-untyped-call"
# PyTorch's events and streams have no types.

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn_network.engine import Integers, Intermediate, Output, RankedBoxes, RunOptions, joined
from maskrcnn_network.graph.network import Network, Variables
from maskrcnn_network.graph.operations import LOWEST
from maskrcnn_network.preparation import Floats
from maskrcnn_server.backend import Image
from maskrcnn_server.engine import Setup
from maskrcnn_server.errors import OutOfDeviceMemory
from maskrcnn_server.rle import Size
from maskrcnn_server.stopwatch import stage
from maskrcnn_torch.devices import description, is_lost, is_out_of_memory
from maskrcnn_torch.graphs import CudaGraph, GraphCache, Ran
from maskrcnn_torch.operations import TorchOperations
from maskrcnn_torch.preparation import constant, prepare, prepared

DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
MAX_BATCH = 8
"""Maximum number of images in one call on a GPU."""
MAX_EXACT_BATCH = 4
"""The same in float32, where larger batches are no faster, and cuDNN's guesses for them may need
tens of gigabytes."""
SLOTS = (8, 32)
"""Numbers of masks computed for each image; the smallest that suffices is used."""
MAX_GRAPHS = 16
"""Maximum number of padded shapes and batch sizes whose graphs are kept."""
USUAL_RATIOS = ((3, 4), (4, 3), (2, 3), (1, 1))
"""Ratios of height to width of images whose graphs are recorded in advance."""
REPLAYS = 5
"""Number of times that a part is timed on a GPU; the median counts."""
EXIT_CODE = 70
"""Exit code of a process that lost its GPU: EX_SOFTWARE in sysexits.h."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class _Detected(NamedTuple):
    """Results for a batch except its masks, on the device, including dropped entries."""

    table: Tensor
    """(D, 6) float32: the box, score and label of each detection."""
    labels: Tensor
    images: Tensor
    proposals: tuple[Tensor, ...]
    """Boxes, scores, images and class scores of the proposals."""
    features: list[Tensor]


class TorchSession:
    """Computes batches on one device, on a GPU from an image's bytes to its soft masks.

    The host copies an image while the GPU works on the previous ones, and waits for the GPU twice:
    for the detections, whose number decides how many masks to compute, and for the masks. Calls do
    not overlap, because one thread at a time uses a session.
    """

    def __init__(self, network: Network, variables: Variables, setup: Setup) -> None:
        self._network = network
        self._setup = setup
        self._rule = network.config.preparation
        self._limit = network.config.detections
        self._device = torch.device(setup.device)
        self._on_gpu = self._device.type == "cuda"
        self._dtype = DTYPES[setup.precision]
        if not self._on_gpu:
            torch.set_num_threads(setup.threads)
        with self._computing():
            folded = network.folded(variables, channels_last=TorchOperations.channels_last)
            exact = setup.precision == "float32"
            self._ops = TorchOperations(folded, self._device, self._dtype, exact=exact)
        # PyTorch's operations wait for the GPU, which is impossible in a graph.
        limit = MAX_GRAPHS if self._ops.kernels else 0
        self._graphs = GraphCache(self._detect, limit)
        self.max_batch = MAX_EXACT_BATCH if self._ops.exact else MAX_BATCH
        self.batch_pixels = 0
        self.facts: Mapping[str, str] = description(self._device)
        if not self._on_gpu:
            self.facts = {**self.facts, "threads": str(torch.get_num_threads())}
            return
        self.facts = {**self.facts, "kernels": self._ops.kernels_of}
        usual = [self._rule.resized_size((256 * h, 256 * w)) for h, w in USUAL_RATIOS]
        self.batch_pixels = self.max_batch * max(
            h * w for h, w in map(self._rule.padded_size, usual)
        )
        if setup.dedicated:
            self.warm(usual)

    def run(self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions, /) -> Output:
        with self._computing():
            return joined(self._outputs(images, sizes, options))

    def close(self) -> None:
        self._graphs.clear()
        self._ops.close()
        if self._on_gpu:
            torch.cuda.empty_cache()

    def warm(self, sizes: Sequence[Size]) -> None:
        """Record graphs for single images of these sizes. Others are recorded when they repeat.

        cuDNN guesses which algorithms are fast: on an H200, trying them took seconds and up to 10
        GB for nothing.
        """
        with self._computing():
            for size in sizes:
                black = np.zeros((*size, 3), np.uint8)
                ran = self._graphs.run(*self._inputs([black], [size], 0.5), at_once=True)
                if self._network.architecture.has_masks:
                    for slots in self._slots():
                        ran.then(slots, partial(self._masks, slots))

    def stages(self, image: Image, size: Size, options: RunOptions, /) -> Intermediate:
        with self._computing():
            ran = self._graphs.run(*self._inputs([image], [size], options.score_threshold))
            maps = (_array(f[0].permute(1, 2, 0).float()) for f in ran.result.features)
            return Intermediate(tuple(maps), self._output(ran, replace(options, proposals=True)))

    def masks_of(self, features: Sequence[Floats], boxes: Floats, labels: Integers, /) -> Floats:
        with self._computing():
            maps = [
                torch.tensor(f).permute(2, 0, 1)[None].to(self._device, self._dtype)
                for f in features
            ]
            where = torch.tensor(boxes, dtype=torch.float32, device=self._device)
            which = torch.tensor(labels, dtype=torch.int64, device=self._device)
            images = torch.zeros_like(which)
            return _array(self._network.masks(self._ops, maps, where, which, images))

    def seconds(self, image: Image, size: Size, options: RunOptions, /) -> Mapping[str, float]:
        """Seconds of each part of the network; on a GPU, of its kernels launched as a graph."""
        network, ops = self._network, self._ops
        with self._computing():
            images, sizes, threshold = self._inputs([image], [size], options.score_threshold)
            ran = self._graphs.run(images, sizes, threshold)
            features, backbone = self._timed(lambda: network.features(ops, images))
            proposals, rpn = self._timed(lambda: network.proposals(ops, features, images, sizes))
            _, heads = self._timed(
                lambda: network.found(ops, features, proposals, sizes, threshold, self._limit)
            )
            seconds = {"backbone": backbone, "rpn": rpn, "heads": heads, "masks": 0.0}
            slots = self._fitting(_kept(_array(ran.result.table), 1, options))
            if options.masks and network.architecture.has_masks and slots:
                _, seconds["masks"] = self._timed(lambda: self._masks(slots, ran.result))
            return seconds

    def _outputs(
        self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions, first: int = 0
    ) -> list[Output]:
        """Outputs for images, half of them at a time if memory does not suffice.

        `first` is the index in the batch of the first image.
        """
        output = self._attempt(images, sizes, options, first)
        if output is None and len(images) == 1:
            output = self._attempt(images, sizes, options, first)  # now that graphs are freed
        if output is not None:
            return [output]
        if len(images) == 1:
            height, width = sizes[0]
            raise OutOfDeviceMemory(
                f"{self._device} has too little free memory for one image of {width} x {height} "
                "pixels: try again later, or serve fewer models on it"
            )
        half = len(images) // 2
        return self._outputs(images[:half], sizes[:half], options, first) + self._outputs(
            images[half:], sizes[half:], options, first + half
        )

    def _attempt(
        self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions, first: int
    ) -> Output | None:
        """The output, or None if memory does not suffice; then, caches have been freed."""
        try:
            with stage("preprocess"):
                inputs = self._inputs(images, sizes, options.score_threshold)
            with stage("network"):
                return self._output(self._graphs.run(*inputs), options, first)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            logger.warning("%s, batch of %d images: %s", self._device, len(images), error)
        # Not above, where the error still holds tensors.
        self._graphs.clear()
        if self._on_gpu:
            torch.cuda.empty_cache()
        return None

    def _inputs(
        self, images: Sequence[Image], sizes: Sequence[Size], score_threshold: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Arguments of `_detect`, on the device or on their way."""
        if self._on_gpu:
            kernels = self._ops.kernels
            by = kernels.prepare if kernels else prepare
            batch = prepared(self._rule, images, sizes, self._device, self._dtype, by)
        else:
            pixels = self._rule.batch(images, sizes, self._rule.padded_size(sizes[0]))
            batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self._dtype)
        return batch, constant(tuple(sizes), self._device), constant(score_threshold, self._device)

    def _detect(self, images: Tensor, sizes: Tensor, threshold: Tensor) -> _Detected:
        ops = self._ops
        features, proposals, probabilities, found = self._network.detect(
            ops, images, sizes, threshold, self._limit
        )
        table = torch.cat([found.boxes, found.scores[:, None], found.labels[:, None]], 1)
        seen = proposals.boxes, proposals.scores, proposals.slots.images, probabilities
        return _Detected(table, found.labels, found.images, seen, features)

    def _masks(self, slots: int, detected: _Detected) -> Tensor:
        """Masks of the first `slots` entries of each image: (batch * slots, m, m)."""
        boxes, labels, images = (
            x.reshape(-1, self._limit, *x.shape[1:])[:, :slots].flatten(0, 1)
            for x in (detected.table[:, :4], detected.labels, detected.images)
        )
        masks: Tensor = self._network.masks(self._ops, detected.features, boxes, labels, images)
        return masks

    def _output(self, ran: Ran[_Detected], options: RunOptions, first: int = 0) -> Output:
        rows = _array(ran.result.table)
        count = len(rows) // self._limit
        kept = _kept(rows, count, options)
        found = rows.reshape(count, self._limit, 6)[kept]
        masks = regions = None
        if options.masks and self._network.architecture.has_masks:
            side, slots = 2 * self._network.body.mask_side, self._fitting(kept)
            masks = np.zeros((0, side, side), np.float32)
            if slots:
                soft = _array(ran.then(slots, partial(self._masks, slots)))
                masks = soft.reshape(count, slots, side, side)[kept[:, :slots]]
        if options.proposals:
            boxes, scores, images, classes = map(_array, ran.result.proposals)
            there = scores >= LOWEST
            regions = RankedBoxes(
                boxes[there], scores[there], images[there] + first, classes[there]
            )
        return Output(
            boxes=found[:, :4],
            scores=found[:, 4],
            labels=found[:, 5].astype(np.int64),
            images=np.nonzero(kept)[0] + first,
            masks=masks,
            proposals=regions,
        )

    def _slots(self) -> list[int]:
        """Numbers of masks of an image for which there are graphs."""
        return [*(n for n in SLOTS if n < self._limit), self._limit]

    def _fitting(self, kept: NDArray[np.bool_]) -> int:
        """Number of masks that suffices for the kept detections of each image; 0 without any."""
        most = int(kept.sum(1).max())
        return next(n for n in self._slots() if n >= most) if most and self._on_gpu else most

    def _timed(self, function: Callable[[], T]) -> tuple[T, float]:
        """The result of a function, and the seconds it takes."""
        if not self._on_gpu:
            start = time.perf_counter()
            return function(), time.perf_counter() - start
        run = CudaGraph(function, (), None).replay if self._ops.kernels else function
        result, laps = run(), []
        for _ in range(REPLAYS):
            begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begun.record()
            run()
            ended.record()
            ended.synchronize()
            laps.append(begun.elapsed_time(ended) / 1e3)
        return result, sorted(laps)[REPLAYS // 2]

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Set PyTorch up for this session's precision inside the block.

        The setup is global: nothing else in the process should compute in another precision then.
        """
        matmul: Any = torch.backends.cuda.matmul
        cudnn: Any = torch.backends.cudnn
        kind = "tf32" if self._setup.precision == "tf32" else "ieee"
        wanted = (
            (cudnn.conv, "fp32_precision", kind),
            (matmul, "fp32_precision", kind),
            (matmul, "allow_fp16_reduced_precision_reduction", False),
            (matmul, "allow_bf16_reduced_precision_reduction", False),
        )
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in wanted]
        for owner, name, value in wanted:
            setattr(owner, name, value)
        try:
            with torch.inference_mode(), self._chosen():
                yield
        except RuntimeError as error:
            if is_lost(error):
                self._lose(error)
            raise
        finally:
            for owner, name, value in before:
                setattr(owner, name, value)

    def _chosen(self) -> Any:
        return torch.cuda.device(self._device) if self._on_gpu else nullcontext()

    def _lose(self, error: RuntimeError) -> None:
        """Exit if the process is dedicated to models: it cannot use the GPU any more."""
        logger.critical("this process cannot use %s any more: %s", self._device, error)
        if self._setup.dedicated:
            logging.shutdown()
            os._exit(EXIT_CODE)


def _kept(rows: Floats, count: int, options: RunOptions) -> NDArray[np.bool_]:
    """Which entries (count, each) are wanted detections: the first ones of each image."""
    kept = np.asarray(rows[:, 4].reshape(count, -1) >= LOWEST)
    kept[:, options.limit :] = False
    return kept


def _array(x: Tensor) -> NDArray[Any]:
    """A tensor on the host, which waits for it."""
    return np.asarray(x.cpu().numpy())
