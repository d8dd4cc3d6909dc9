"""A network compiled by OpenVINO for this CPU."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.engine import Integers, Intermediate, Output, RankedBoxes, RunOptions, joined
from maskrcnn_network.graph.network import Network, Variables
from maskrcnn_network.preparation import Floats
from maskrcnn_openvino.graphs import PARTS, Graphs
from maskrcnn_openvino.runtime import openvino
from maskrcnn_server.backend import Image
from maskrcnn_server.engine import Ranges, Setup
from maskrcnn_server.rle import Size
from maskrcnn_server.stopwatch import stage

UNLIMITED_PIXELS = 1 << 31
"""Number of pixels that no batch of images reaches."""
THREADS_PER_STREAM = 8
"""Number of threads that one image keeps busy."""


def settings(threads: int) -> dict[str, Any]:
    """Settings with which OpenVINO compiles for a CPU."""
    return {
        # By default, bfloat16 is used on CPUs that have it.
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        # By default, kernels for every size of image are kept.
        "CPU_RUNTIME_CACHE_CAPACITY": 0,
        # Models in other processes would be pinned to the same cores.
        "ENABLE_CPU_PINNING": False,
    }


class OpenVinoSession:
    """Computes each image by itself, with one image in each stream at a time."""

    def __init__(self, network: Network, variables: Variables, setup: Setup) -> None:
        self._network = network
        self._setup = setup
        self._streams = setup.streams or max(1, setup.threads // THREADS_PER_STREAM)
        self.max_batch = self._streams
        self.batch_pixels = 0 if self._streams == 1 else UNLIMITED_PIXELS
        self.facts = {
            "library": f"OpenVINO {openvino.__version__.partition('-')[0]}",
            "threads": f"{setup.threads} in {self._streams} streams",
        }
        self._graphs = Graphs(network, network.folded(variables, channels_last=False), setup.ranges)
        self._core = openvino.Core()
        compiled = self._compiled(self._graphs.detector(), NUM_STREAMS=self._streams)
        self._idle = [compiled.create_infer_request() for _ in range(self._streams)]
        self._others: dict[str, Any] = {}
        """Requests of graphs that show more than detections, by purpose."""

    def run(self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions, /) -> Output:
        outputs: list[Output] = []
        for start in range(0, len(images), self._streams):
            part = slice(start, start + self._streams)
            running = []
            for request, image, size in zip(self._idle, images[part], sizes[part], strict=False):
                with stage("preprocess"):
                    feed = self._feed(image, size, options)
                request.start_async(feed, share_inputs=True)
                running.append((request, feed))
            for request, _ in running:
                with stage("network"):
                    request.wait()
                    outputs.append(self._output(request, len(outputs), options))
        return joined(outputs)

    def close(self) -> None:
        self._idle, self._others = [], {}

    def stages(self, image: Image, size: Size, options: RunOptions, /) -> Intermediate:
        """Everything `run` computes for an image, including proposals, from a separate graph."""
        request = self._other("stages", lambda: self._graphs.detector(shown=True))
        request.infer(self._feed(image, size, options))
        features = (request.get_tensor(name).data for name in self._graphs.feature_names)
        output = self._output(request, 0, replace(options, proposals=True))
        return Intermediate(tuple(np.moveaxis(f[0], 0, -1).copy() for f in features), output)

    def masks_of(self, features: Sequence[Floats], boxes: Floats, labels: Integers, /) -> Floats:
        request = self._other("masks", self._graphs.masker)
        maps = (np.ascontiguousarray(np.moveaxis(f, -1, 0)[None]) for f in features)
        request.infer(
            {
                **dict(zip(self._graphs.feature_names, maps, strict=True)),
                "boxes": np.ascontiguousarray(boxes, np.float32),
                "labels": np.ascontiguousarray(labels, np.int64),
            }
        )
        return np.array(request.get_tensor("masks").data)

    def seconds(self, image: Image, size: Size, options: RunOptions, /) -> Mapping[str, float]:
        """Seconds of each part of the network, measured by OpenVINO."""
        request = self._other("seconds", self._graphs.detector, PERF_COUNT=True)
        request.infer(self._feed(image, size, options))
        seconds = dict.fromkeys(PARTS, 0.0)
        for node in request.profiling_info:
            part = node.node_name.partition(":")[0]
            if part in seconds:
                seconds[part] += node.real_time.total_seconds()
        return seconds

    def ranges(self, image: Image, size: Size, layers: Sequence[str], /) -> Ranges:
        request = self._other("ranges", lambda: self._graphs.observer(layers))
        request.infer(self._feed(image, size, RunOptions(score_threshold=0.0, limit=100)))
        found = request.get_tensor("ranges").data.reshape(-1, 2)
        return {n: (float(low), float(high)) for n, (low, high) in zip(layers, found, strict=True)}

    def _feed(self, image: Image, size: Size, options: RunOptions) -> dict[str, NDArray[Any]]:
        rule = self._network.config.preparation
        return {
            "images": rule.batch([image], [size], rule.padded_size(size)),
            "sizes": np.array([size], np.float32),
            "score_threshold": np.array(options.score_threshold, np.float32),
            "limit": np.array([options.limit], np.int64),
            "with_masks": np.array([options.masks], np.int64),
        }

    def _output(self, request: Any, image: int, options: RunOptions) -> Output:
        def tensor(name: str) -> Any:
            return request.get_tensor(name).data.copy()

        boxes, regions = tensor("boxes"), None
        has_masks = options.masks and self._network.architecture.has_masks
        if options.proposals:
            seen = tensor("proposal_boxes")
            owners = np.full(len(seen), image)
            regions = RankedBoxes(seen, tensor("proposal_scores"), owners, tensor("class_scores"))
        return Output(
            boxes=boxes,
            scores=tensor("scores"),
            labels=tensor("labels"),
            images=np.full(len(boxes), image),
            masks=tensor("masks") if has_masks else None,
            proposals=regions,
        )

    def _other(self, purpose: str, graph: Callable[[], Any], **more: Any) -> Any:
        if purpose not in self._others:
            compiled = self._compiled(graph(), **more)
            self._others[purpose] = compiled.create_infer_request()
        return self._others[purpose]

    def _compiled(self, graph: Any, **more: Any) -> Any:
        given = settings(self._setup.threads) | more
        return self._core.compile_model(graph, "CPU", given)
