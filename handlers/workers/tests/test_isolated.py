"""Models in processes of their own, and what they survive."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from maskrcnn_plugin_kit.testing import BackendConformance, FakeBackend
from maskrcnn_server.backend import (
    Backend,
    Batches,
    Image,
    Model,
    ModelConfig,
    PredictOptions,
    Restarts,
)
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import (
    BackendCrashed,
    BackendFailed,
    BackendTimedOut,
    InvalidImage,
    InvalidModel,
    MaskRCNNError,
    ModelFailed,
)
from maskrcnn_server.hosting.job import Caller
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.rle import Order
from maskrcnn_study.faulty import EATEN, FAULTS, PID, load
from maskrcnn_workers import isolated
from maskrcnn_workers.isolated import IsolatedModel
from maskrcnn_workers.model_process import Limits

PATIENCE_S = 60.0
OPTIONS = PredictOptions()
ORDERS: tuple[Order, ...] = ("rows", "columns")
HEIGHTS = {fault: height for height, fault in FAULTS.items()}

Isolate: TypeAlias = Callable[..., IsolatedModel]


class IsolatedBackend(FakeBackend):
    """The fake backend, whose models run in processes of their own."""

    def load(self, config: ModelConfig, /) -> Model:
        return IsolatedModel(partial(FakeBackend().load, config), name="fake")


@pytest.fixture(scope="module")
def backend() -> Backend:
    return IsolatedBackend()


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model")


class TestIsolatedBackend(BackendConformance):
    """Nobody notices where a model runs."""

    needs_files = False

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls) -> str:
        return "maskrcnn_study.faulty"


@pytest.fixture
def isolate(tmp_path: Path) -> Iterator[Isolate]:
    """Makes a faulty model in a process of its own."""
    models = []

    def made(limits: Limits | None = None) -> IsolatedModel:
        models.append(IsolatedModel(partial(load, tmp_path), name="victim", limits=limits))
        return models[-1]

    yield made
    for model in models:
        model.close()
        model.close()


def image(fault: str = "", height: int = 30) -> Image:
    return np.full((HEIGHTS.get(fault, height), 40, 3), 200, np.uint8)


def ask(scheduler: Scheduler, pixels: Image, timeout_s: float = PATIENCE_S) -> Detections:
    with scheduler.job(Caller(timeout_s)) as job:
        (found,) = job.predict([pixels], OPTIONS)
    return found


def kill(model: IsolatedModel) -> None:
    os.kill(model.pid, signal.SIGKILL)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_computes_in_another_process_what_it_would_in_this(
    isolate: Isolate, tmp_path: Path
) -> None:
    model, inside = isolate(), load(tmp_path)
    options = PredictOptions(mask_threshold=0.3, proposals=True, max_detections=2)
    for height in (30, 20):
        (theirs,) = model.predict([image(height=height)], options)
        (ours,) = inside.predict([image(height=height)], options)
        assert theirs.boxes.tolist() == ours.boxes.tolist()
        assert theirs.masks is not None
        assert ours.masks is not None
        for order in ORDERS:
            mine, yours = ours.masks.rle(order), theirs.masks.rle(order)
            assert [r.counts.tolist() for r in yours] == [r.counts.tolist() for r in mine]
    assert model.pid != os.getpid()
    assert model.metadata == inside.metadata
    assert isinstance(model, Batches)
    assert isinstance(model, Restarts)
    assert (model.batch_pixels, model.network_shape((3, 4))) == (4096, (3, 4))


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ("raise", BackendFailed, "the backend failed on this request"),
        ("exit", BackendFailed, "the backend failed on this request"),
        ("refuse", InvalidImage, "too dark"),
        ("pretend", BackendTimedOut, "not really"),
    ],
)
def test_what_it_raises_is_raised_here_and_costs_it_nothing(
    isolate: Isolate, fault: str, kind: type[MaskRCNNError], message: str
) -> None:
    model = isolate()
    pid = model.pid
    with pytest.raises(kind, match=message) as caught:
        model.predict([image(fault)], OPTIONS)
    if kind is InvalidImage:
        assert caught.value.detail == {"lux": 3}
    if kind is BackendFailed:
        assert "on purpose" in str(caught.value.__cause__)
        assert "in fail" in str(caught.value.__cause__)
    assert model.is_up()
    assert len(model.predict([image()], OPTIONS)[0]) == 3
    assert (model.pid, model.restarts) == (pid, 0)


def test_a_request_that_runs_when_its_process_is_killed_is_computed_by_the_next(
    isolate: Isolate, tmp_path: Path
) -> None:
    model = isolate()
    scheduler = Scheduler(model, max_waiting=4)
    assert len(ask(scheduler, image("once"))) == 3
    assert (tmp_path / "once").exists()
    assert (model.restarts, scheduler.restarts) == (1, 1)


def test_a_request_that_ends_two_processes_is_told_so_and_its_neighbours_are_answered(
    isolate: Isolate,
) -> None:
    model = isolate()
    scheduler = Scheduler(model, max_waiting=8, max_batch=4)
    with ThreadPoolExecutor(4) as pool:
        poison = pool.submit(ask, scheduler, image("die"))
        others = [pool.submit(ask, scheduler, image()) for _ in range(3)]
        with pytest.raises(BackendCrashed, match=r"ended by itself \(exit code 3\)"):
            poison.result(PATIENCE_S)
        assert [len(other.result(PATIENCE_S)) for other in others] == [3, 3, 3]
    until(lambda: model.restarts == 2)


def test_of_a_call_that_ends_its_process_each_image_is_computed_again_by_itself(
    isolate: Isolate,
) -> None:
    """One of a batch is poison: it is found out, and the others are answered."""
    model = isolate()
    scheduler = Scheduler(model, max_waiting=8, max_batch=4)
    wide = np.full((12, 40, 3), 200, np.uint8)
    begin = threading.Barrier(4)

    def asked(pixels: Image) -> int | str:
        begin.wait(PATIENCE_S)
        try:
            return len(ask(scheduler, pixels))
        except BackendCrashed as error:
            return error.code

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(asked, [image(), wide, image(), image()]))
    assert sorted(map(str, outcomes)) == ["3", "3", "3", "backend_crashed"]


def test_a_process_that_dies_while_nobody_asks_is_replaced(isolate: Isolate) -> None:
    model = isolate()
    before = model.pid
    kill(model)
    until(lambda: model.restarts == 1)
    assert model.pid != before
    assert len(ask(Scheduler(model, max_waiting=1), image())) == 3


def test_a_call_that_hangs_is_ended_and_not_tried_again(isolate: Isolate) -> None:
    model = isolate(Limits(predict_s=0.3))
    scheduler = Scheduler(model, max_waiting=4)
    with pytest.raises(BackendTimedOut, match=r"took longer than 0\.3 s"):
        ask(scheduler, image("hang"))
    assert len(ask(scheduler, image())) == 3
    assert model.restarts == 1


def test_who_waits_behind_a_call_that_hangs_is_not_blamed_for_it(isolate: Isolate) -> None:
    model = isolate(Limits(predict_s=0.5))
    scheduler = Scheduler(model, max_waiting=8)
    with ThreadPoolExecutor(4) as pool:
        hanging = pool.submit(ask, scheduler, image("hang"))
        until(lambda: scheduler.running == 1)
        others = [pool.submit(ask, scheduler, image()) for _ in range(3)]
        with pytest.raises(BackendTimedOut):
            hanging.result(PATIENCE_S)
        assert [len(other.result(PATIENCE_S)) for other in others] == [3, 3, 3]


def test_a_process_that_takes_too_much_memory_is_ended(isolate: Isolate) -> None:
    model = isolate(Limits(memory=EATEN // 4))
    scheduler = Scheduler(model, max_waiting=4)
    with pytest.raises(BackendCrashed, match=r"took \d+ MB of memory, of 512 allowed"):
        ask(scheduler, image("eat"))
    assert len(ask(scheduler, image())) == 3


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raise", "RuntimeError: on purpose"),
        ("exit", "SystemExit: on purpose"),
        ("die", r"process of model victim ended by itself \(exit code 3\)\n    last words"),
        ("hang", r"was not loaded: .* it took longer than 1\.5 s"),
        ("eat", r"was ended: it took \d+ MB of memory"),
    ],
)
def test_a_model_that_does_not_load_is_an_error_that_says_why(
    tmp_path: Path, fault: str, message: str
) -> None:
    slow = 1.5 if fault == "hang" else PATIENCE_S
    limits = Limits(load_s=slow, memory=EATEN // 4)
    with pytest.raises(InvalidModel, match=message):
        IsolatedModel(partial(load, tmp_path, fault), name="victim", limits=limits)
    if (tmp_path / PID).exists():
        pid = int((tmp_path / PID).read_text())
        until(lambda: not Path(f"/proc/{pid}").exists())


def test_who_asks_while_it_comes_back_waits_no_longer_than_it_wants(isolate: Isolate) -> None:
    model = isolate()
    scheduler = Scheduler(model, max_waiting=4)
    kill(model)
    until(lambda: not model.is_up())
    start = time.monotonic()
    with pytest.raises(MaskRCNNError) as caught:
        ask(scheduler, image(), timeout_s=0.05)
    assert caught.value.code == "deadline_exceeded"
    assert time.monotonic() - start < 5
    assert len(ask(scheduler, image())) == 3


def test_one_that_keeps_ending_is_given_up_for_a_while_with_the_reason(
    isolate: Isolate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "MAX_FAILURES", 2)
    model = isolate()
    scheduler = Scheduler(model, max_waiting=4)
    with pytest.raises(BackendCrashed):
        ask(scheduler, image("die"))
    with pytest.raises(ModelFailed, match=r"ended 2 times .*exit code 3") as caught:
        ask(scheduler, image())
    assert caught.value.detail["retry_after_s"] == 1
    until(lambda: model.restarts == 2)
    assert len(ask(scheduler, image())) == 3


def test_closing_does_not_wait_for_a_process_that_is_being_started(isolate: Isolate) -> None:
    model = isolate()
    kill(model)
    start = time.monotonic()
    model.close()
    assert time.monotonic() - start < 5


def test_nothing_is_left_of_processes_that_were_closed(isolate: Isolate) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    isolate().close()
    before = descriptors()
    model = isolate()
    kill(model)
    until(lambda: model.restarts == 1)
    pid = model.pid
    model.close()
    until(lambda: not Path(f"/proc/{pid}").exists())
    until(lambda: descriptors() <= before)
