"""The cache of graphs, with recordings that need no GPU."""

from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from maskrcnn_torch.graphs import CudaGraph, Function, GraphCache


class FakeGraph(CudaGraph):
    """A recording that calls its function when it is replayed."""

    device_type: ClassVar[str] = "cpu"
    made: ClassVar[list[tuple["FakeGraph", CudaGraph | None]]] = []
    room: ClassVar[int] = 1000

    def __init__(
        self, function: Function, inputs: tuple[Tensor, ...], other: CudaGraph | None
    ) -> None:
        assert inputs
        if len(self.made) >= self.room:
            raise torch.OutOfMemoryError("no memory")
        self.made.append((self, other))
        self.function = function
        self.replays = 0

    def replay(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        self.replays += 1
        return self.function(*inputs)


@pytest.fixture(autouse=True)
def nothing_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeGraph, "made", [])
    monkeypatch.setattr(FakeGraph, "room", 1000)


def double(value: Tensor) -> tuple[Tensor, ...]:
    return (value * 2,)


def run(cache: GraphCache, *keys: object) -> list[int]:
    """How many recordings there are after each run."""
    counts = []
    for key in keys:
        (found,) = cache.run(key, double, torch.ones(2))
        assert found.tolist() == [2, 2]
        counts.append(len(FakeGraph.made))
    return counts


def test_a_repeated_key_is_recorded_and_replayed() -> None:
    assert run(GraphCache(3, FakeGraph), "a", "a", "a", "a") == [0, 1, 1, 1]
    assert FakeGraph.made[0][0].replays == 3


def test_other_shapes_and_types_are_other_keys() -> None:
    cache = GraphCache(3, FakeGraph)
    for value in (torch.ones(2), torch.ones(3), torch.ones(2, dtype=torch.int64)):
        cache.run("a", double, value)
    assert not FakeGraph.made
    cache.run("a", double, torch.ones(3))
    assert len(FakeGraph.made) == 1


def test_the_least_recently_used_graph_is_dropped() -> None:
    cache = GraphCache(2, FakeGraph)
    assert run(cache, "a", "a", "b", "b", "a") == [0, 1, 1, 2, 2]
    assert run(cache, "c", "c") == [2, 3], "in b's place"
    assert run(cache, "a", "c", "b", "b") == [3, 3, 3, 4]


def test_more_keys_in_turn_than_graphs_are_not_recorded() -> None:
    assert run(GraphCache(2, FakeGraph), *"abcabcabc")[-1] == 0


def test_a_warmed_key_is_recorded_at_once() -> None:
    cache = GraphCache(2, FakeGraph)
    cache.warm("a", double, torch.ones(2))
    cache.warm("a", double, torch.ones(2))
    assert run(cache, "a") == [1]


def test_graphs_share_memory_with_one_that_is_kept() -> None:
    cache = GraphCache(2, FakeGraph)
    run(cache, *"aabbcc")
    (a, first), (b, second), (_, third) = FakeGraph.made
    assert first is None
    assert second is a
    assert third in (a, b)
    cache.clear()
    run(cache, *"aa")
    assert FakeGraph.made[-1][1] is None, "after all were dropped, there is nothing to share"


def test_graphs_without_room_are_dropped_and_half_as_many_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FakeGraph, "room", 2)
    cache = GraphCache(4, FakeGraph)
    assert run(cache, *"aabbcc") == [0, 1, 1, 2, 2, 2]
    monkeypatch.setattr(FakeGraph, "room", 1000)
    assert run(cache, *"aabbccaa") == [2, 3, 3, 4, 4, 5, 5, 6]


@pytest.mark.parametrize(
    "make", [lambda: GraphCache(3), lambda: GraphCache(0, FakeGraph)], ids=["cpu", "no-graphs"]
)
def test_functions_are_simply_called_without_graphs(make: Callable[[], GraphCache]) -> None:
    cache = make()
    cache.warm("a", double, torch.ones(2))
    assert run(cache, *"aaa") == [0, 0, 0]
    cache.clear()
