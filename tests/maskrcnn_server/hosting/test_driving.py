"""While requests wait, calls follow each other in one thread."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from maskrcnn_plugin_kit.testing.fake import FakeModel
from maskrcnn_server.backend import Image, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import ModelFailed, NotReady
from maskrcnn_server.hosting import scheduler as scheduling
from maskrcnn_server.hosting.job import Caller
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.hosting.turns import Turns
from maskrcnn_server.rle import Size
from maskrcnn_server.stopwatch import Stopwatch, listen

WAIT_S = 20.0
SECONDS = 0.05
"""Time of a call."""


class Held(FakeModel):
    """Holds its first call until it is let go; writes down the thread of each call. One image
    fills a call."""

    batch_pixels = 20

    def __init__(self) -> None:
        super().__init__(0.5)
        self.reached, self.opened = threading.Event(), threading.Event()
        self.threads: list[int] = []

    def network_shape(self, size: Size, /) -> Size:
        return size

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        self.threads.append(threading.get_ident())
        self.reached.set()
        assert self.opened.wait(WAIT_S)
        time.sleep(SECONDS)
        return super().predict(images, options)


class Failing(Held):
    """Fails for long with its first call."""

    restarts = 0
    failed = False

    def is_up(self) -> bool:
        if self.failed:
            raise ModelFailed("it does not come back")
        return True

    def tell(self, changed: Callable[[], None]) -> None:
        """Nothing changes by itself."""

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        found = super().predict(images, options)
        self.failed = True
        return found


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def scheduler(model: Held, turns: Turns | None = None) -> Scheduler:
    """A scheduler that lets four images wait in memory."""
    return Scheduler(model, max_waiting=4, max_batch=4, turns=turns)


def ask(busy: Scheduler) -> tuple[int, Stopwatch]:
    """The thread of a request, and the times of its stages."""
    with listen() as stopwatch, busy.job(Caller(WAIT_S)) as job:
        job.predict([np.zeros((4, 5, 3), np.uint8)], PredictOptions())
    return threading.get_ident(), stopwatch


def waiting(
    pool: ThreadPoolExecutor, model: Held, busy: Scheduler, count: int
) -> list["Future[tuple[int, Stopwatch]]"]:
    """A request that computes, and those that wait for it with their images."""
    asked = [pool.submit(ask, busy)]
    assert model.reached.wait(WAIT_S)
    asked += [pool.submit(ask, busy) for _ in range(count)]
    end = time.monotonic() + WAIT_S
    while busy.ready < count:
        assert time.monotonic() < end
        time.sleep(0.001)
    return asked


def test_a_request_that_meets_nobody_computes_in_its_own_thread() -> None:
    model = Held()
    model.opened.set()
    busy = scheduler(model)
    assert [ask(busy)[0], ask(busy)[0]] == model.threads


def test_those_that_wait_are_computed_in_one_other_thread(pool: ThreadPoolExecutor) -> None:
    model = Held()
    asked = waiting(pool, model, scheduler(model), 3)
    model.opened.set()
    threads = [each.result(WAIT_S)[0] for each in asked]
    assert model.threads[0] == threads[0]
    assert len(model.threads) == 4
    assert len(set(model.threads[1:])) == 1
    assert model.threads[1] not in threads


def test_each_request_is_told_its_own_times(pool: ThreadPoolExecutor) -> None:
    model = Held()
    asked = waiting(pool, model, scheduler(model), 3)
    model.opened.set()
    for each in asked:
        stopwatch = each.result(WAIT_S)[1]
        assert [lap.stage for lap in stopwatch.laps].count("model") == 1
        assert stopwatch.seconds["model"] >= SECONDS
        whole = max(lap.end for lap in stopwatch.laps) - min(lap.start for lap in stopwatch.laps)
        # The call does not count as waiting, too.
        assert sum(stopwatch.seconds.values()) <= whole + 1e-6


def test_a_model_that_fails_meanwhile_fails_all_at_once(pool: ThreadPoolExecutor) -> None:
    model = Failing()
    asked = waiting(pool, model, scheduler(model), 3)
    model.opened.set()
    asked[0].result(WAIT_S)
    for each in asked[1:]:
        with pytest.raises(ModelFailed, match="does not come back"):
            each.result(WAIT_S / 4)
    assert len(model.threads) == 1


def test_a_server_that_ends_starts_no_more_calls(pool: ThreadPoolExecutor) -> None:
    model = Held()
    busy = scheduler(model)
    asked = waiting(pool, model, busy, 3)
    busy.refuse_waiting()
    model.opened.set()
    asked[0].result(WAIT_S)
    for each in asked[1:]:
        with pytest.raises(NotReady):
            each.result(WAIT_S / 4)
    assert len(model.threads) == 1


def test_another_model_has_its_turn_in_between(pool: ThreadPoolExecutor) -> None:
    turns, one, other = Turns(), Held(), Held()
    first, second = scheduler(one, turns), scheduler(other, turns)
    asked = waiting(pool, one, first, 1)
    asked.append(pool.submit(ask, second))
    end = time.monotonic() + WAIT_S
    while second.ready < 1:
        assert time.monotonic() < end
        time.sleep(0.001)
    one.opened.set()
    assert other.reached.wait(WAIT_S)
    assert len(one.threads) == 1
    other.opened.set()
    for each in asked:
        each.result(WAIT_S)
    assert (len(one.threads), len(other.threads)) == (2, 1)


def test_without_another_thread_each_request_computes_in_its_own(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    model = Held()
    asked = waiting(pool, model, scheduler(model), 3)
    monkeypatch.setattr(scheduling, "start_new_thread", none_left)
    model.opened.set()
    assert sorted(each.result(WAIT_S)[0] for each in asked) == sorted(model.threads)
