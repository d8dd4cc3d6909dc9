"""CUDA graphs: a function's kernels, recorded once and launched together afterwards."""
# mypy: disable-error-code="no-untyped-call"
# PyTorch's streams have no types.

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

Function: TypeAlias = Callable[..., tuple[Tensor, ...]]

WARM_UP_RUNS = 2
"""Runs before a recording: they choose algorithms, compile kernels and allocate workspaces."""


class CudaGraph:
    """A function of tensors, recorded for inputs of certain shapes.

    It reads and writes buffers of its own. All else it needs lies in memory it shares with
    `other`, a recording on the same device: nothing in there outlives a replay.
    """

    device_type: ClassVar[str] = "cuda"

    def __init__(
        self, function: Function, inputs: tuple[Tensor, ...], other: "CudaGraph | None"
    ) -> None:
        device = inputs[0].device
        # Memory is reused between recordings of one stream alone.
        self._stream: torch.cuda.Stream = other._stream if other else torch.cuda.Stream(device)
        self._graph = torch.cuda.CUDAGraph()
        self._inputs = tuple(value.clone() for value in inputs)
        self._stream.wait_stream(torch.cuda.current_stream(device))
        # Entered here and not by `graph` alone, which stays on its stream if a recording fails.
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP_RUNS):
                outputs = function(*self._inputs)
            self._outputs = tuple(torch.empty_like(value) for value in outputs)
            del outputs
            with torch.cuda.graph(
                self._graph,
                pool=other._graph.pool() if other else None,
                stream=self._stream,
                capture_error_mode="thread_local",
            ):
                for target, value in zip(self._outputs, function(*self._inputs), strict=True):
                    target.copy_(value)
        torch.cuda.current_stream(device).wait_stream(self._stream)

    def replay(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs, valid until the next replay, on the current stream."""
        for target, value in zip(self._inputs, inputs, strict=True):
            target.copy_(value, non_blocking=True)
        self._graph.replay()
        return self._outputs


class GraphCache:
    """Functions that are run as graphs once they are called with the same shapes again.

    The last `limit` graphs are kept; memory that does not suffice lowers that. On a CPU, functions
    are simply called. For one thread at a time and one stream; other threads may use the device.
    Functions take and return tensors on the device, and must not wait for it.
    """

    def __init__(self, limit: int, graph: type[CudaGraph] = CudaGraph) -> None:
        self._limit = limit
        self._graph = graph
        self._graphs: OrderedDict[Hashable, CudaGraph] = OrderedDict()
        self._seen: OrderedDict[Hashable, None] = OrderedDict()

    def run(self, key: Hashable, function: Function, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What `function` makes of `inputs`, valid until the next run of this key.

        `key` is what distinguishes the function beyond its inputs' shapes and types.
        """
        with torch.inference_mode():
            graph = self._get(key, function, inputs, record=self._is_repeated)
            return graph.replay(*inputs) if graph else function(*inputs)

    def warm(self, key: Hashable, function: Function, *inputs: Tensor) -> None:
        """Records the graph `run` needs; on a CPU, calls the function."""
        with torch.inference_mode():
            if not self._get(key, function, inputs, record=lambda _: True):
                function(*inputs)

    def clear(self) -> None:
        """Drops all graphs; none may be running."""
        self._graphs.clear()
        self._seen.clear()

    def _get(
        self,
        key: Hashable,
        function: Function,
        inputs: tuple[Tensor, ...],
        record: Callable[[Hashable], bool],
    ) -> CudaGraph | None:
        """The graph to replay, recorded if need be; None: the function is to be called."""
        if inputs[0].device.type != self._graph.device_type:
            return None
        key = (key, *((value.shape, value.dtype) for value in inputs))
        if key in self._graphs:
            self._graphs.move_to_end(key)
        elif self._limit and record(key):
            self._record(key, function, inputs)
        return self._graphs.get(key)

    def _is_repeated(self, key: Hashable) -> bool:
        """Whether the key is among the last `limit` that were called; now it is.

        Not among all: more shapes in turn than graphs are kept would each be recorded in vain.
        """
        repeated = key in self._seen
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > self._limit:
            self._seen.popitem(last=False)
        return repeated

    def _record(self, key: Hashable, function: Function, inputs: tuple[Tensor, ...]) -> None:
        other = next(iter(self._graphs.values()), None)
        try:
            self._graphs[key] = self._graph(function, inputs, other)
        except torch.OutOfMemoryError:
            self.clear()
            self._limit //= 2
            return
        self._seen.pop(key, None)
        # Afterwards, as shared memory goes with the last graph that uses it.
        if len(self._graphs) > self._limit:
            self._graphs.popitem(last=False)
