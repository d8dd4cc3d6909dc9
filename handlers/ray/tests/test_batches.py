"""Images in batches, and what comes back."""

import itertools

from maskrcnn_ray.batches import FIRST_IMAGES, MAX_TRIES, Batch, Batches
from maskrcnn_ray.heads import MAX_IMAGES
from maskrcnn_ray.work import Item


def items(count: int) -> list[Item]:
    return [Item(f"{i}.png", i, "1") for i in range(count)]


def taken(batches: Batches) -> Batch:
    batch = batches.next()
    assert batch is not None
    return batch


def test_a_batch_is_what_a_worker_does_in_ten_seconds() -> None:
    batches = Batches(items(10_000))
    assert len(taken(batches).items) == FIRST_IMAGES
    batches.adapt(2.0)
    assert len(taken(batches).items) == 2 * FIRST_IMAGES
    for _ in range(9):
        batches.adapt(1000)
    assert len(taken(batches).items) == MAX_IMAGES
    batches.adapt(1 / 60)
    assert len(taken(batches).items) == 1


def test_nothing_is_listed_before_it_is_wanted() -> None:
    listed = itertools.count()
    batches = Batches(Item("a", next(listed), "1") for _ in itertools.repeat(None))
    taken(batches)
    assert next(listed) == FIRST_IMAGES


def test_what_ends_workers_goes_image_by_image_and_alone() -> None:
    batches = Batches(items(FIRST_IMAGES))
    batch = taken(batches)
    for _ in range(MAX_TRIES - 1):
        assert batches.came_back(batch) == []
        assert taken(batches) is batch
    assert batches.came_back(batch) == []
    assert batches.next() is None
    alone = [batches.next_alone() for _ in range(FIRST_IMAGES)]
    assert [each.items[0].image_id for each in alone if each] == list(range(FIRST_IMAGES))
    assert not batches.remain()
    last = alone[-1]
    assert last is not None
    for _ in range(MAX_TRIES - 1):
        assert batches.came_back(last) == []
        assert batches.next_alone() is last
    assert batches.came_back(last) == list(last.items)
    assert not batches.remain()
