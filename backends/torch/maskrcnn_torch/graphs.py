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
"""Runs before a recording: they choose algorithms, compile kernels and allocate workspaces."""

T = TypeVar("T")
U = TypeVar("U")

logger = logging.getLogger(__name__)


class CudaGraph:
    """A function of tensors, recorded on the current device for inputs of certain shapes.

    What it returns is its own, and others may be recorded that read it. All else it needs lies in
    memory that it shares with `other`: nothing in there outlives a replay.
    """

    device_type: ClassVar[str] = "cuda"

    def __init__(
        self, function: Callable[..., Any], inputs: tuple[Tensor, ...], other: "CudaGraph | None"
    ) -> None:
        # Memory is reused between recordings of one stream alone.
        self._stream: torch.cuda.Stream = other._stream if other else torch.cuda.Stream()
        self._graph = torch.cuda.CUDAGraph()
        self._inputs = tuple(value.clone() for value in inputs)
        self._function = function  # what it refers to must stay where it is
        self.later: dict[Hashable, CudaGraph] = {}
        """Recordings that read what this one makes."""
        self._stream.wait_stream(torch.cuda.current_stream())
        # Entered here and not by `graph` alone, which stays on its stream if a recording fails.
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP_RUNS):
                function(*self._inputs)
            with torch.cuda.graph(
                self._graph,
                pool=other._graph.pool() if other else None,
                stream=self._stream,
                capture_error_mode="thread_local",
            ):
                # It is kept, so nothing that is recorded later is put in its place.
                self._result = function(*self._inputs)
        torch.cuda.current_stream().wait_stream(self._stream)

    def replay(self, *inputs: Tensor) -> Any:
        """What the function makes of inputs, valid until the next replay, on the current stream."""
        for target, value in zip(self._inputs, inputs, strict=True):
            target.copy_(value, non_blocking=True)
        self._graph.replay()
        return self._result


class Ran(Generic[T]):
    """What a function made, and what can go on from there."""

    def __init__(
        self, result: T, graph: CudaGraph | None = None, cache: "GraphCache[T] | None" = None
    ) -> None:
        self.result = result
        self._graph = graph
        self._cache = cache

    def then(self, key: Hashable, function: Callable[[T], U]) -> U:
        """What `function` makes of the result: replayed, if that was, and so recorded if need be.

        `key` is what distinguishes it from others. Valid until the next run of both.
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
    """A function that runs as a graph once it is called with the same shapes again.

    The last `limit` graphs are kept; memory that does not suffice lowers that. On a CPU, the
    function is simply called. For one thread at a time and one stream; other threads may use the
    device. The function takes and returns tensors on the device, and must not wait for it.
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
        """What the function makes of inputs, valid until it runs again with such shapes.

        `at_once`: a graph is recorded although these are new.
        """
        graph = None
        if self._limit and inputs[0].device.type == self._graph.device_type:
            graph = self._get(inputs, at_once)
        result = graph.replay(*inputs) if graph else self._function(*inputs)
        return Ran(result, graph, self)

    def clear(self) -> None:
        """Drop all graphs; none may be running."""
        self._graphs.clear()
        self._seen.clear()

    def record(
        self, function: Callable[..., Any], inputs: tuple[Tensor, ...], other: CudaGraph | None
    ) -> CudaGraph | None:
        """A recording; None if there is no memory for it, or the function cannot be recorded."""
        try:
            return self._graph(function, inputs, other)
        except RuntimeError as error:
            if is_lost(error):
                raise
            self.clear()
            self._limit = self._limit // 2 if is_out_of_memory(error) else 0
            logger.warning("%d CUDA graphs are kept from now on: %s", self._limit, error)
            return None

    def _get(self, inputs: tuple[Tensor, ...], at_once: bool) -> CudaGraph | None:
        """The graph to replay, recorded if need be; None: the function is to be called."""
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
            # Afterwards, as shared memory goes with the last graph that uses it.
            if len(self._graphs) > self._limit:
                self._graphs.popitem(last=False)
        return graph

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
