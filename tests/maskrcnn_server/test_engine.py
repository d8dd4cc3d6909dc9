import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

import numpy as np
import pytest

from maskrcnn_server.backend import Image, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.engine import Engine
from maskrcnn_server.errors import (
    BackendFailed,
    DeadlineExceeded,
    InvalidImage,
    QueueFull,
    UnavailableError,
)
from maskrcnn_server.testing.fake import FakeModel

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


def engine(model: FakeModel, max_waiting: int = 8, timeout_s: float = PATIENCE_S) -> Engine:
    return Engine(model, max_waiting=max_waiting, timeout_s=timeout_s)


def ask(busy: Engine) -> list[Detections]:
    with busy.admission():
        return busy.predict([image()], OPTIONS)


def occupied(
    model: FakeModel, gate: Gate, pool: ThreadPoolExecutor, max_waiting: int, timeout_s: float
) -> tuple[Engine, "Future[list[Detections]]"]:
    """An engine whose model is at the gate with a first request."""
    busy = engine(model, max_waiting, timeout_s)
    first = pool.submit(ask, busy)
    assert gate.reached.wait(PATIENCE_S)
    return busy, first


def test_answers_come_in_the_order_of_the_images() -> None:
    sizes = [(4, 5), (1, 1), (9, 2)]
    found = engine(FakeModel(0.5)).predict([image(*size) for size in sizes], OPTIONS)
    assert [detections.size for detections in found] == sizes


def test_options_reach_the_model() -> None:
    (found,) = engine(FakeModel(0.5)).predict([image() + 255], PredictOptions(max_detections=2))
    assert len(found) == 2


def test_metadata_is_the_models() -> None:
    model = FakeModel(0.5)
    assert engine(model).metadata is model.metadata


def test_a_full_queue_refuses_at_once(gate: Gate, pool: ThreadPoolExecutor) -> None:
    busy, first = occupied(Scripted(gate), gate, pool, max_waiting=0, timeout_s=PATIENCE_S)
    start = time.monotonic()
    with pytest.raises(QueueFull, match=r"^0 requests are waiting already") as caught:
        ask(busy)
    assert time.monotonic() - start < PATIENCE_S / 2
    assert caught.value.detail == {"max_waiting": 0}
    gate.opened.set()
    assert len(first.result()) == 1


def test_as_many_wait_as_may(gate: Gate, pool: ThreadPoolExecutor) -> None:
    busy, first = occupied(Scripted(gate), gate, pool, max_waiting=2, timeout_s=PATIENCE_S)
    others = [pool.submit(ask, busy) for _ in range(5)]
    done = as_completed(others, timeout=PATIENCE_S)
    refused = [next(done).exception() for _ in range(3)]
    assert [type(error) for error in refused] == [QueueFull] * 3
    gate.opened.set()
    answered = [first, *(future for future in others if future.exception() is None)]
    assert [len(future.result()) for future in answered] == [1, 1, 1]


def test_a_full_queue_empties(gate: Gate, pool: ThreadPoolExecutor) -> None:
    busy, first = occupied(Scripted(gate), gate, pool, max_waiting=0, timeout_s=PATIENCE_S)
    with pytest.raises(QueueFull):
        ask(busy)
    gate.opened.set()
    first.result()
    assert len(ask(busy)) == 1


def test_who_waits_too_long_does_not_run(gate: Gate, pool: ThreadPoolExecutor) -> None:
    model = Scripted(gate)
    busy, first = occupied(model, gate, pool, max_waiting=1, timeout_s=0.02)
    for _ in range(3):
        with pytest.raises(DeadlineExceeded, match=r"busy for 0\.02 s") as caught:
            ask(busy)
    assert caught.value.detail == {"timeout_s": 0.02}
    gate.opened.set()
    first.result()
    assert model.events == ["begin", "end"]


def test_a_model_that_raises_fails_one_request() -> None:
    faults = [ZeroDivisionError("/secret/path"), None]

    def act() -> None:
        if (fault := faults.pop(0)) is not None:
            raise fault

    server = engine(Scripted(act), max_waiting=0)
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
        ask(engine(Scripted(act)))
    assert caught.value is ours


@pytest.mark.parametrize("answers", [0, 1, 3])
def test_there_is_an_answer_for_each_image(answers: int) -> None:
    class Miscounting(FakeModel):
        def predict(self, _: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
            return super().predict([image()] * answers, options)

    with pytest.raises(BackendFailed, match=f"{answers} answers for 2 images"):
        engine(Miscounting(0.5)).predict([image(), image()], OPTIONS)


def test_an_answer_of_none_is_the_backends_failure() -> None:
    class Silent(FakeModel):
        def predict(self, _: Sequence[Image], __: PredictOptions, /) -> list[Detections]:
            return None  # type: ignore[return-value]

    with pytest.raises(BackendFailed):
        ask(engine(Silent(0.5)))


def test_threads_never_meet_in_the_model(pool: ThreadPoolExecutor) -> None:
    model = Scripted(lambda: time.sleep(0.001))
    shared = engine(model, max_waiting=40)
    for answer in [pool.submit(ask, shared) for _ in range(40)]:
        assert len(answer.result()) == 1
    assert model.events == ["begin", "end"] * 40


def test_closing_closes_the_model() -> None:
    model = Scripted()
    engine(model).close()
    assert model.events == ["close"]


def test_closing_waits_for_the_request_that_is_running(
    gate: Gate, pool: ThreadPoolExecutor
) -> None:
    model = Scripted(gate)
    busy, first = occupied(model, gate, pool, max_waiting=0, timeout_s=PATIENCE_S)
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
    closed = engine(model)
    closed.close()
    with pytest.raises(UnavailableError):
        ask(closed)
    assert model.events == ["close"]


def test_only_two_requests_are_worked_on_at_a_time(gate: Gate, pool: ThreadPoolExecutor) -> None:
    """What waits has not decoded its image: thirty large ones would fill the memory."""
    busy, first = occupied(Scripted(gate), gate, pool, max_waiting=8, timeout_s=PATIENCE_S)
    admitted = threading.Semaphore(0)

    def work() -> None:
        with busy.admission():
            admitted.release()
            busy.predict([image()], OPTIONS)

    others = [pool.submit(work) for _ in range(6)]
    assert admitted.acquire(timeout=PATIENCE_S)
    assert not admitted.acquire(timeout=0.2)
    gate.opened.set()
    first.result()
    for other in others:
        other.result()


def test_a_model_that_does_not_end_is_not_waited_for(gate: Gate, pool: ThreadPoolExecutor) -> None:
    model = Scripted(gate)
    busy, first = occupied(model, gate, pool, max_waiting=0, timeout_s=PATIENCE_S)
    assert not busy.close(timeout_s=0.05)
    assert "close" not in model.events
    gate.opened.set()
    first.result()
    assert busy.close(timeout_s=PATIENCE_S)
    assert model.events[-1] == "close"
