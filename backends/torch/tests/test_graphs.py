"""The cache of graphs, with recordings that need no GPU."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from maskrcnn_torch.graphs import CudaGraph, GraphCache


class FakeGraph(CudaGraph):
    """A recording that calls its function when it is replayed."""

    device_type: ClassVar[str] = "cpu"
    made: ClassVar[list[tuple["FakeGraph", CudaGraph | None]]] = []
    room: ClassVar[int] = 1000
    problem: ClassVar[type[RuntimeError]] = torch.OutOfMemoryError

    def __init__(
        self, function: Callable[..., Any], inputs: tuple[Tensor, ...], other: CudaGraph | None
    ) -> None:
        if len(self.made) >= self.room:
            raise self.problem("it cannot be recorded")
        self.made.append((self, other))
        self.function, self.inputs = function, inputs
        self.later = {}
        self.replays = 0

    def replay(self, *inputs: Tensor) -> Any:
        self.replays += 1
        return self.function(*inputs)


@pytest.fixture(autouse=True)
def nothing_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeGraph, "made", [])
    monkeypatch.setattr(FakeGraph, "room", 1000)


def double(value: Tensor) -> Tensor:
    return value * 2


def cache_of(limit: int) -> GraphCache[Tensor]:
    return GraphCache(double, limit, FakeGraph)


def run(cache: GraphCache[Tensor], *lengths: int) -> list[int]:
    """How many recordings there are after each run, of so many ones."""
    counts = []
    for length in lengths:
        assert cache.run(torch.ones(length)).result.tolist() == [2] * length
        counts.append(len(FakeGraph.made))
    return counts


def test_a_repeated_shape_is_recorded_and_replayed() -> None:
    assert run(cache_of(3), 1, 1, 1, 1) == [0, 1, 1, 1]
    assert FakeGraph.made[0][0].replays == 3


def test_other_types_are_others() -> None:
    cache = cache_of(3)
    for value in (torch.ones(2), torch.ones(2, dtype=torch.int64)):
        cache.run(value)
    assert not FakeGraph.made
    cache.run(torch.ones(2))
    assert len(FakeGraph.made) == 1


def test_the_least_recently_used_graph_is_dropped() -> None:
    cache = cache_of(2)
    assert run(cache, 1, 1, 2, 2, 1) == [0, 1, 1, 2, 2]
    assert run(cache, 3, 3) == [2, 3], "in the place of 2"
    assert run(cache, 1, 3, 2, 2) == [3, 3, 3, 4]


def test_more_shapes_in_turn_than_graphs_are_not_recorded() -> None:
    assert run(cache_of(2), 1, 2, 3, 1, 2, 3, 1, 2, 3)[-1] == 0


def test_a_shape_is_recorded_at_once_if_that_is_wanted() -> None:
    cache = cache_of(2)
    cache.run(torch.ones(2), at_once=True)
    assert run(cache, 2) == [1]


def test_graphs_share_memory_with_one_that_is_kept() -> None:
    cache = cache_of(2)
    run(cache, 1, 1, 2, 2, 3, 3)
    (a, first), (b, second), (_, third) = FakeGraph.made
    assert first is None
    assert second is a
    assert third in (a, b)
    cache.clear()
    run(cache, 1, 1)
    assert FakeGraph.made[-1][1] is None, "after all were dropped, there is nothing to share"


def test_what_goes_on_from_a_replay_is_recorded_beside_it() -> None:
    cache = cache_of(2)
    for expected in (0, 2, 2, 2):
        ran = cache.run(torch.ones(2))
        assert ran.then("sum", Tensor.sum).item() == 4
        assert len(FakeGraph.made) == expected
    (graph, _), (later, other) = FakeGraph.made
    assert other is graph
    assert later.replays == 3
    assert ran.then("mean", Tensor.mean).item() == 2
    assert list(graph.later) == ["sum", "mean"]


def test_graphs_without_room_are_dropped_and_half_as_many_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FakeGraph, "room", 2)
    cache = cache_of(4)
    assert run(cache, 1, 1, 2, 2, 3, 3) == [0, 1, 1, 2, 2, 2]
    monkeypatch.setattr(FakeGraph, "room", 1000)
    assert run(cache, 1, 1, 2, 2, 3, 3, 1, 1) == [2, 3, 3, 4, 4, 5, 5, 6]


def test_what_goes_on_runs_without_room_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeGraph, "room", 1)
    cache = cache_of(4)
    run(cache, 1, 1)
    assert cache.run(torch.ones(1)).then("sum", Tensor.sum).item() == 2


def test_what_cannot_be_recorded_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeGraph, "room", 0)
    monkeypatch.setattr(FakeGraph, "problem", RuntimeError)
    cache = cache_of(4)
    run(cache, 1, 1)
    monkeypatch.setattr(FakeGraph, "room", 1000)
    assert run(cache, 1, 1, 1)[-1] == 0


def test_a_lost_gpu_is_no_reason_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeGraph, "room", 0)
    monkeypatch.setattr(FakeGraph, "problem", torch.AcceleratorError)
    with pytest.raises(torch.AcceleratorError):
        run(cache_of(4), 1, 1)


@pytest.mark.parametrize(
    "cache", [GraphCache(double, 3), GraphCache(double, 0, FakeGraph)], ids=["cpu", "no-graphs"]
)
def test_functions_are_simply_called_without_graphs(cache: GraphCache[Tensor]) -> None:
    cache.run(torch.ones(1), at_once=True)
    assert run(cache, 1, 1, 1) == [0, 0, 0]
    cache.clear()
