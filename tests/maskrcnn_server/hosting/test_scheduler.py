import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn_plugin_kit.testing.fake import FakeModel
from maskrcnn_server.backend import Image, ModelLost, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import (
    BackendCrashed,
    BackendFailed,
    CallerGone,
    DeadlineExceeded,
    InvalidImage,
    ModelFailed,
    NotReady,
    QueueFull,
    UnavailableError,
)
from maskrcnn_server.hosting.job import Caller
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.hosting.turns import Turns
from maskrcnn_server.rle import Size

OPTIONS = PredictOptions()

PATIENCE_S = 10.0


def image(height: int = 4, width: int = 5) -> Image:
    return np.zeros((height, width, 3), np.uint8)


class Scripted(FakeModel):
    """Does what it is told before it answers, and writes down what happened."""

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        super().__init__(0.5)
        self._act = act
        self.events: list[str] = []

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        self.events.append("begin")
        self._act()
        self.events.append("end")
        return super().predict(images, options)

    def close(self) -> None:
        self.events.append("close")


class Gate:
    """Holds whoever passes until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.opened.wait(PATIENCE_S)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def pool(gate: Gate) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool
        gate.opened.set()


class Batching(Scripted):
    """Computes images of one size together, up to twenty pixels a call; writes down how many."""

    batch_pixels = 20

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        super().__init__(act)
        self.calls: list[int] = []

    def network_shape(self, size: Size, /) -> Size:
        return size

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        self.calls.append(len(images))
        if any(not one.any() for one in images):
            raise ValueError("black")
        return super().predict(images, options)


def scheduler(model: FakeModel, max_waiting: int = 8, max_batch: int = 1) -> Scheduler:
    return Scheduler(model, max_waiting=max_waiting, max_batch=max_batch)


def ask(
    busy: Scheduler,
    caller: Caller | None = None,
    pixels: Image | None = None,
    options: PredictOptions = OPTIONS,
) -> list[Detections]:
    with busy.job(caller or Caller(PATIENCE_S)) as job:
        return job.predict([image() if pixels is None else pixels], options)


def occupied(
    model: FakeModel, gate: Gate, pool: ThreadPoolExecutor, max_waiting: int, max_batch: int = 1
) -> tuple[Scheduler, "Future[list[Detections]]"]:
    """A scheduler whose model is at the gate with a first request."""
    busy = scheduler(model, max_waiting, max_batch)
    first = pool.submit(ask, busy, pixels=image() + 1)
    assert gate.reached.wait(PATIENCE_S)
    return busy, first


def test_answers_come_in_the_order_of_the_images() -> None:
    sizes = [(4, 5), (1, 1), (9, 2)]
    with scheduler(FakeModel(0.5)).job(Caller(PATIENCE_S)) as job:
        found = job.predict([image(*size) for size in sizes], OPTIONS)
    assert [detections.size for detections in found] == sizes


def test_options_reach_the_model() -> None:
    (found,) = ask(
        scheduler(FakeModel(0.5)), pixels=image() + 255, options=PredictOptions(max_detections=2)
    )
    assert len(found) == 2


def test_metadata_is_the_models() -> None:
    model = FakeModel(0.5)
    assert scheduler(model).metadata is model.metadata


def test_a_full_queue_refuses_at_once(gate: Gate, pool: ThreadPoolExecutor) -> None:
    busy, first = occupied(Scripted(gate), gate, pool, max_waiting=0)
    start = time.monotonic()
    with pytest.raises(QueueFull, match=r"^0 requests are waiting already") as caught:
        ask(busy)
    assert time.monotonic() - start < PATIENCE_S / 2
    assert caught.value.detail == {"max_waiting": 0, "retry_after_s": 1}
    gate.opened.set()
    assert len(first.result()) == 1


def test_as_many_wait_as_may(gate: Gate, pool: ThreadPoolExecutor) -> None:
    busy, first = occupied(Scripted(gate), gate, pool, max_waiting=2)
    others = [pool.submit(ask, busy) for _ in range(5)]
    done = as_completed(others, timeout=PATIENCE_S)
    refused = [next(done).exception() for _ in range(3)]
    assert [type(error) for error in refused] == [QueueFull] * 3
    gate.opened.set()
    answered = [first, *(future for future in others if future.exception() is None)]
    assert [len(future.result()) for future in answered] == [1, 1, 1]


def test_a_full_queue_empties(gate: Gate, pool: ThreadPoolExecutor) -> None:
    busy, first = occupied(Scripted(gate), gate, pool, max_waiting=0)
    with pytest.raises(QueueFull):
        ask(busy)
    gate.opened.set()
    first.result()
    assert len(ask(busy)) == 1


def test_who_waits_too_long_does_not_run(gate: Gate, pool: ThreadPoolExecutor) -> None:
    model = Scripted(gate)
    busy, first = occupied(model, gate, pool, max_waiting=1)
    for _ in range(3):
        with pytest.raises(DeadlineExceeded, match=r"busy for 0\.02 s") as caught:
            ask(busy, Caller(0.02))
    assert caught.value.detail == {"timeout_s": 0.02}
    gate.opened.set()
    first.result()
    assert model.events == ["begin", "end"]


def test_a_model_that_raises_fails_one_request() -> None:
    faults = [ZeroDivisionError("/secret/path"), None]

    def act() -> None:
        if (fault := faults.pop(0)) is not None:
            raise fault

    server = scheduler(Scripted(act), max_waiting=0)
    with pytest.raises(BackendFailed) as caught:
        ask(server)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "secret" not in str(caught.value)
    assert len(ask(server)) == 1


def test_our_errors_pass_as_they_are() -> None:
    ours = InvalidImage("too dark", lux=3)

    def act() -> None:
        raise ours

    with pytest.raises(InvalidImage) as caught:
        ask(scheduler(Scripted(act)))
    assert caught.value is ours


@pytest.mark.parametrize("answers", [0, 1, 3])
def test_there_is_an_answer_for_each_image(answers: int) -> None:
    class Miscounting(FakeModel):
        def predict(self, _: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
            return super().predict([image()] * answers, options)

    with (
        scheduler(Miscounting(0.5)).job(Caller(PATIENCE_S)) as job,
        pytest.raises(BackendFailed, match=f"{answers} answers for 2 images"),
    ):
        job.predict([image(), image()], OPTIONS)


def test_an_answer_of_none_is_the_backends_failure() -> None:
    class Silent(FakeModel):
        def predict(self, _: Sequence[Image], __: PredictOptions, /) -> list[Detections]:
            return None  # type: ignore[return-value]

    with pytest.raises(BackendFailed):
        ask(scheduler(Silent(0.5)))


def test_threads_never_meet_in_the_model(pool: ThreadPoolExecutor) -> None:
    model = Scripted(lambda: time.sleep(0.001))
    shared = scheduler(model, max_waiting=40)
    for answer in [pool.submit(ask, shared) for _ in range(40)]:
        assert len(answer.result()) == 1
    assert model.events == ["begin", "end"] * 40


def test_closing_closes_the_model() -> None:
    model = Scripted()
    scheduler(model).close()
    assert model.events == ["close"]


def test_closing_waits_for_the_request_that_is_running(
    gate: Gate, pool: ThreadPoolExecutor
) -> None:
    model = Scripted(gate)
    busy, first = occupied(model, gate, pool, max_waiting=0)
    closing = pool.submit(busy.close)
    time.sleep(0.02)
    assert not closing.done()
    gate.opened.set()
    closing.result()
    assert len(first.result()) == 1
    assert model.events == ["begin", "end", "close"]


def test_a_closed_model_is_not_asked() -> None:
    """`Model.close`: `predict` is not called after it."""
    model = Scripted()
    closed = scheduler(model)
    closed.close()
    with pytest.raises(UnavailableError):
        ask(closed)
    assert model.events == ["close"]


def test_only_two_requests_are_worked_on_at_a_time(gate: Gate, pool: ThreadPoolExecutor) -> None:
    """What waits has not decoded its image: thirty large ones would fill the memory."""
    busy, first = occupied(Scripted(gate), gate, pool, max_waiting=8)
    admitted = threading.Semaphore(0)

    def work() -> None:
        with busy.job(Caller(PATIENCE_S)) as job:
            admitted.release()
            job.predict([image()], OPTIONS)

    others = [pool.submit(work) for _ in range(6)]
    assert admitted.acquire(timeout=PATIENCE_S)
    assert not admitted.acquire(timeout=0.2)
    gate.opened.set()
    first.result()
    for other in others:
        other.result()


def test_an_image_that_is_being_decoded_does_not_hold_up_the_next() -> None:
    idle = scheduler(FakeModel(0.5))
    with idle.job(Caller(PATIENCE_S)) as slow, idle.job(Caller(PATIENCE_S)) as quick:
        assert len(quick.predict([image()], OPTIONS)) == 1
        assert len(slow.predict([image()], OPTIONS)) == 1


def test_the_next_batch_is_decoded_while_one_is_computed(
    gate: Gate, pool: ThreadPoolExecutor
) -> None:
    model = Batching(gate)
    busy, first = occupied(model, gate, pool, 16, max_batch=2)
    others = [pool.submit(ask, busy, pixels=image(1) + 200) for _ in range(5)]
    waiting_for(busy, 3)
    gate.opened.set()
    for one in (first, *others):
        one.result(PATIENCE_S)
    # Those after them are together if they are decoded in time.
    assert model.calls[:2] == [1, 2]
    assert sum(model.calls) == 6


def test_a_model_that_does_not_end_is_not_waited_for(gate: Gate, pool: ThreadPoolExecutor) -> None:
    model = Scripted(gate)
    busy, first = occupied(model, gate, pool, max_waiting=0)
    assert not busy.close(timeout_s=0.05)
    assert "close" not in model.events
    gate.opened.set()
    first.result()
    assert busy.close(timeout_s=PATIENCE_S)
    assert model.events[-1] == "close"


def test_who_has_gone_does_not_run(gate: Gate, pool: ThreadPoolExecutor) -> None:
    model = Scripted(gate)
    busy, first = occupied(model, gate, pool, max_waiting=4)
    callers = [Caller(PATIENCE_S) for _ in range(3)]
    others = [pool.submit(ask, busy, caller) for caller in callers]
    for caller in callers:
        caller.leave()
    for other in others:
        with pytest.raises(CallerGone):
            other.result(PATIENCE_S)
    gate.opened.set()
    first.result()
    assert model.events == ["begin", "end"]


def test_the_retry_follows_from_what_an_image_takes(gate: Gate, pool: ThreadPoolExecutor) -> None:
    pauses = iter([0.9])

    def act() -> None:
        time.sleep(next(pauses, 0))
        gate()

    busy = scheduler(Scripted(act), max_waiting=4)
    gate.opened.set()
    ask(busy)
    gate.opened.clear()
    gate.reached.clear()
    others = [pool.submit(ask, busy) for _ in range(5)]
    assert gate.reached.wait(PATIENCE_S)
    while busy.waiting < 4:
        time.sleep(0.001)
    with pytest.raises(QueueFull, match="try again in 3 s") as caught:
        ask(busy)
    assert caught.value.detail["retry_after_s"] == 3
    gate.opened.set()
    for other in others:
        other.result()


def waiting_for(busy: Scheduler, count: int) -> None:
    """Until so many requests have asked, beside the one that runs."""
    deadline = time.monotonic() + PATIENCE_S
    while busy.ready < count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("max_batch", "height", "calls"),
    [
        (4, 2, [1, 2, 2]),
        (4, 1, [1, 4]),
        (3, 1, [1, 3, 1]),
        (1, 1, [1, 1, 1, 1, 1]),
        (4, 9, [1] * 5),
    ],
    ids=["pixels", "all", "images", "one", "large"],
)
def test_what_waits_is_computed_together(
    gate: Gate, pool: ThreadPoolExecutor, max_batch: int, height: int, calls: list[int]
) -> None:
    """As far as images and pixels of a call allow."""
    model = Batching(gate)
    busy, first = occupied(model, gate, pool, 8, max_batch)
    others = [pool.submit(ask, busy, pixels=image(height) + 200) for _ in range(4)]
    waiting_for(busy, min(4, max_batch))
    gate.opened.set()
    first.result()
    for other in others:
        (found,) = other.result(PATIENCE_S)
        assert (found.size, len(found)) == ((height, 5), 3)
    assert model.calls == calls


def test_only_equal_shapes_and_options_are_computed_together(
    gate: Gate, pool: ThreadPoolExecutor
) -> None:
    model = Batching(gate)
    busy, first = occupied(model, gate, pool, 8, max_batch=4)
    one, two = PredictOptions(max_detections=1), PredictOptions(max_detections=2)
    asked = [(image(1, 4), one), (image(4, 1), one), (image(1, 4), two), (image(1, 4), one)]
    others = []
    for count, (pixels, options) in enumerate(asked, start=1):
        others.append(pool.submit(ask, busy, pixels=pixels + 200, options=options))
        waiting_for(busy, count)
    gate.opened.set()
    first.result()
    for other, (pixels, options) in zip(others, asked, strict=True):
        (found,) = other.result(PATIENCE_S)
        assert (found.size, len(found)) == (pixels.shape[:2], options.max_detections)
    assert model.calls == [1, 2, 1, 1]


def test_one_images_failure_is_its_own(gate: Gate, pool: ThreadPoolExecutor) -> None:
    model = Batching(gate)
    busy, first = occupied(model, gate, pool, 8, max_batch=4)
    others = [pool.submit(ask, busy, pixels=image(1) + bright) for bright in (200, 0, 210)]
    waiting_for(busy, 3)
    gate.opened.set()
    first.result()
    with pytest.raises(BackendFailed):
        others[1].result(PATIENCE_S)
    assert [len(others[i].result(PATIENCE_S)[0]) for i in (0, 2)] == [3, 3]
    assert model.calls == [1, 3, 1, 1, 1]


def test_models_take_turns(gate: Gate, pool: ThreadPoolExecutor) -> None:
    """However many wait for the first, the second is next."""
    turns, order = Turns(), []

    def noted(name: str) -> Scheduler:
        def act() -> None:
            gate()
            order.append(name)

        return Scheduler(Scripted(act), max_waiting=16, turns=turns)

    first, second = noted("first"), noted("second")
    asked = [pool.submit(ask, first)]
    assert gate.reached.wait(PATIENCE_S)
    asked += [pool.submit(ask, first) for _ in range(4)]
    waiting_for(first, 1)
    asked += [pool.submit(ask, second) for _ in range(2)]
    waiting_for(second, 2)
    gate.opened.set()
    for request in asked:
        request.result(PATIENCE_S)
    assert order == ["first", "second", "first", "second", "first", "first", "first"]


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from([(1, 4), (2, 2), (4, 5)]),
        st.integers(0, 255),
        st.sampled_from([OPTIONS, PredictOptions(max_detections=1)]),
        st.sampled_from([PATIENCE_S, PATIENCE_S, PATIENCE_S, 0.002]),
        st.booleans(),
    ),
    min_size=100,
    max_size=200,
)
"""Size, brightness (0 fails), options, time-out, and whether the caller goes away at once."""


@settings(max_examples=20, deadline=None)
@given(requests=REQUESTS, max_batch=st.integers(1, 5), max_waiting=st.integers(0, 20))
def test_no_answer_is_lost_or_anothers(
    requests: list[tuple[Size, int, PredictOptions, float, bool]], max_batch: int, max_waiting: int
) -> None:
    """Thousands of requests at a time: each has its own image's answer, or a reason."""
    model = Batching(lambda: time.sleep(0.0002))
    shared = scheduler(model, max_waiting, max_batch)

    def one(request: tuple[Size, int, PredictOptions, float, bool]) -> str:
        size, bright, options, timeout_s, goes = request
        caller = Caller(timeout_s)
        if goes:
            threading.Timer(0.001, caller.leave).start()
        pixels = np.full((*size, 3), bright, np.uint8)
        try:
            (found,) = ask(shared, caller, pixels, options)
        except BackendFailed:
            assert bright == 0
            return "failed"
        except QueueFull:
            return "full"
        except DeadlineExceeded:
            assert timeout_s < PATIENCE_S
            return "late"
        except CallerGone:
            assert goes
            return "gone"
        (alone,) = FakeModel(0.5).predict([pixels], options)
        assert bright > 0
        assert found.size == size
        assert found.scores.tolist() == alone.scores.tolist()
        assert found.boxes.tolist() == alone.boxes.tolist()
        return "answered"

    with ThreadPoolExecutor(24) as pool:
        outcomes = list(pool.map(one, requests, timeout=60))
    assert len(outcomes) == len(requests)
    assert (shared.waiting, shared.ready) == (0, 0)
    assert max(model.calls, default=0) <= max_batch
    assert shared.close(timeout_s=PATIENCE_S)


def test_a_model_that_hangs_does_not_keep_the_others(gate: Gate, pool: ThreadPoolExecutor) -> None:
    turns = Turns(limit_s=0.1)
    hanging = Scheduler(Scripted(gate), max_waiting=4, turns=turns, limit_s=0.05)
    healthy = Scheduler(FakeModel(0.5), max_waiting=4, turns=turns)
    stuck = [pool.submit(ask, hanging, Caller(PATIENCE_S)) for _ in range(3)]
    assert gate.reached.wait(PATIENCE_S)
    for _ in range(3):
        assert len(ask(healthy)) == 1
    assert [hanging.hangs, healthy.hangs] == [True, False]
    with pytest.raises(ModelFailed, match=r"one call for more than 0\.05 s"):
        ask(hanging)
    assert not hanging.close(timeout_s=0.01)
    gate.opened.set()
    stuck[0].result(PATIENCE_S)
    assert healthy.close(timeout_s=PATIENCE_S)


def test_a_model_that_hangs_and_comes_back_does_not_end_anothers_turn(
    pool: ThreadPoolExecutor,
) -> None:
    """Whose turn it is, and who computes, are two things."""
    turns, gates, together = Turns(limit_s=0.05), [Gate(), Gate()], []
    schedulers = [Scheduler(Scripted(gate), max_waiting=4, turns=turns) for gate in gates]
    third = Scheduler(
        Scripted(lambda: together.append(schedulers[1].running)), max_waiting=4, turns=turns
    )
    asked = [pool.submit(ask, schedulers[0])]
    assert gates[0].reached.wait(PATIENCE_S)
    asked.append(pool.submit(ask, schedulers[1]))
    assert gates[1].reached.wait(PATIENCE_S)
    gates[0].opened.set()
    asked[0].result(PATIENCE_S)
    asked.append(pool.submit(ask, third))
    gates[1].opened.set()
    for one in asked:
        one.result(PATIENCE_S)
    assert len(together) == 1


def test_a_plugin_that_exits_ends_its_request_and_not_the_server() -> None:
    def act() -> None:
        raise SystemExit(3)

    with pytest.raises(BackendFailed):
        ask(scheduler(Scripted(act)))


class Mortal(Batching):
    """Loses its calls as told, and is down for as long."""

    restarts = 0

    def __init__(self, *losses: bool) -> None:
        super().__init__()
        self.losses = list(losses)
        self.up = True
        self.changed: Callable[[], None] = lambda: None

    def is_up(self) -> bool:
        return self.up

    def tell(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        if self.losses and self.losses.pop(0):
            self.calls.append(-len(images))
            raise ModelLost("the process was killed")
        return super().predict(images, options)

    def come(self, up: bool) -> None:
        self.up = up
        self.changed()


def test_a_call_that_was_lost_is_made_once_more() -> None:
    model = Mortal(True)
    assert len(ask(scheduler(model), pixels=image() + 200)) == 1
    assert model.calls == [-1, 1]
    model.losses = [True, True]
    with pytest.raises(BackendCrashed, match="was killed"):
        ask(scheduler(model), pixels=image() + 200)
    assert model.calls == [-1, 1, -1, -1]


def test_requests_wait_while_the_model_is_down(pool: ThreadPoolExecutor) -> None:
    model = Mortal()
    server = scheduler(model)
    model.come(up=False)
    with pytest.raises(DeadlineExceeded):
        ask(server, Caller(0.02))
    waiting = pool.submit(ask, server, pixels=image() + 200)
    waiting_for(server, 0)
    model.come(up=True)
    assert len(waiting.result(PATIENCE_S)) == 1
    assert model.calls == [1]


def test_who_was_lost_with_the_model_is_not_computed_during_shutdown() -> None:
    class Ending(Mortal):
        def predict(self, _: Sequence[Image], __: PredictOptions, /) -> list[Detections]:
            server.refuse_waiting()
            raise ModelLost("the process was killed")

    server = scheduler(Ending())
    with pytest.raises(NotReady):
        ask(server, pixels=image() + 200)
