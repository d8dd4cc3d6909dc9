"""CUDA graphs: a function's kernels, recorded once and launched together afterwards."""
# mypy: disable-error-code="no-untyped-call"
# PyTorch's streams have no types.

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from maskrcnn_torch.devices import is_lost, is_out_of_memory

WARM_UP_RUNS = 2
"""Number of runs before a recording, which choose algorithms, compile kernels and allocate memory.
"""

T = TypeVar("T")
U = TypeVar("U")

logger = logging.getLogger(__name__)


class CudaGraph:
    """A function of tensors, recorded on the current device for inputs of certain shapes.

    Other recordings may read its result. All memory is shared with `other`: what was recorded later
    may use what an earlier recording had freed, so a result is valid until another one is replayed.
    """

    device_type: ClassVar[str] = "cuda"

    def __init__(
        self, function: Callable[..., Any], inputs: tuple[Tensor, ...], other: "CudaGraph | None"
    ) -> None:
        # Recordings reuse memory only within a stream.
        self._stream: torch.cuda.Stream = other._stream if other else torch.cuda.Stream()
        self._graph = torch.cuda.CUDAGraph()
        self._inputs = tuple(value.clone() for value in inputs)
        self._function = function  # keeps the memory it refers to
        self.later: dict[Hashable, CudaGraph] = {}
        """Recordings that read the result of this one."""
        self._stream.wait_stream(torch.cuda.current_stream())
        # Entered here too, because `graph` stays on its stream if a recording fails.
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP_RUNS):
                function(*self._inputs)
            with torch.cuda.graph(
                self._graph,
                pool=other._graph.pool() if other else None,
                stream=self._stream,
                capture_error_mode="thread_local",
            ):
                # Kept, so that later recordings do not overwrite it.
                self._result = function(*self._inputs)
        torch.cuda.current_stream().wait_stream(self._stream)

    def replay(self, *inputs: Tensor) -> Any:
        """The function's result on the current stream, valid until any other's next replay."""
        for target, value in zip(self._inputs, inputs, strict=True):
            target.copy_(value, non_blocking=True)
        self._graph.replay()
        return self._result


class Ran(Generic[T]):
    """The result of a function, from which other functions can continue."""

    def __init__(
        self, result: T, graph: CudaGraph | None = None, cache: "GraphCache[T] | None" = None
    ) -> None:
        self.result = result
        self._graph = graph
        self._cache = cache

    def then(self, key: Hashable, function: Callable[[T], U]) -> U:
        """Apply `function` to the result: as a graph, recorded if necessary, if that was one.

        `key` identifies the function. The value is valid until the next run of both.
        """
        graph, cache = self._graph, self._cache
        if graph is None or cache is None:
            return function(self.result)
        if key not in graph.later:
            recorded = cache.record(partial(function, self.result), (), graph)
            if recorded is None:
                return function(self.result)
            graph.later[key] = recorded
        made: U = graph.later[key].replay()
        return made


class GraphCache(Generic[T]):
    """A function that runs as a graph from its second call with the same shapes.

    The last `limit` graphs are kept, fewer if memory runs out. On a CPU, the function is simply
    called. One thread and one stream may use it at a time; other threads may use the device. The
    function takes and returns tensors on the device, and must not wait for it.
    """

    def __init__(
        self, function: Callable[..., T], limit: int, graph: type[CudaGraph] = CudaGraph
    ) -> None:
        self._function = function
        self._limit = limit
        self._graph = graph
        self._graphs: OrderedDict[Hashable, CudaGraph] = OrderedDict()
        self._seen: OrderedDict[Hashable, None] = OrderedDict()

    def run(self, *inputs: Tensor, at_once: bool = False) -> Ran[T]:
        """The function's result, valid until the function runs again.

        `at_once`: a graph is recorded at the first call.
        """
        graph = None
        if self._limit and inputs[0].device.type == self._graph.device_type:
            graph = self._get(inputs, at_once)
        result = graph.replay(*inputs) if graph else self._function(*inputs)
        return Ran(result, graph, self)

    def clear(self) -> None:
        """Drop all graphs, none of which may be running."""
        self._graphs.clear()
        self._seen.clear()

    def record(
        self, function: Callable[..., Any], inputs: tuple[Tensor, ...], other: CudaGraph | None
    ) -> CudaGraph | None:
        """A recording. None if memory does not suffice, or the function cannot be recorded."""
        try:
            return self._graph(function, inputs, other)
        except RuntimeError as error:
            if is_lost(error):
                raise
            self.clear()
            self._limit = self._limit // 2 if is_out_of_memory(error) else 0
            logger.warning("keeping only %d CUDA graphs from now on: %s", self._limit, error)
            return None

    def _get(self, inputs: tuple[Tensor, ...], at_once: bool) -> CudaGraph | None:
        """The graph to replay, recorded if necessary. None: call the function."""
        key = tuple((value.shape, value.dtype) for value in inputs)
        if key in self._graphs:
            self._graphs.move_to_end(key)
            return self._graphs[key]
        if not (self._is_repeated(key) or at_once):
            return None
        graph = self.record(self._function, inputs, next(iter(self._graphs.values()), None))
        if graph is not None:
            self._graphs[key] = graph
            self._seen.pop(key, None)
            # Afterwards, because shared memory is freed with the last graph that uses it.
            if len(self._graphs) > self._limit:
                self._graphs.popitem(last=False)
        return graph

    def _is_repeated(self, key: Hashable) -> bool:
        """Whether the key is among the last `limit` calls, to which it is added.

        With more alternating shapes than graphs that are kept, recording would be a waste.
        """
        repeated = key in self._seen
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > self._limit:
            self._seen.popitem(last=False)
        return repeated
