"""A model in several processes, which compute at the same time behind one scheduler."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from maskrcnn_server import machine
from maskrcnn_server.backend import Batches, Image, Model, ModelConfig, PredictOptions, Restarts
from maskrcnn_server.engine import Choice, Engine
from maskrcnn_server.errors import BackendCrashed, InvalidModel, InvalidSetting, ModelFailed
from maskrcnn_server.hosting.job import Caller
from maskrcnn_server.hosting.located import Located
from maskrcnn_server.hosting.scheduler import Parallel, Scheduler
from maskrcnn_server.hosting.turns import Turns
from maskrcnn_server.settings import ModelSettings
from maskrcnn_study.faulty import FAULTS, FaultyBackend, load
from maskrcnn_workers import isolated, processes
from maskrcnn_workers.isolated import IsolatedModel
from maskrcnn_workers.worker import Worker
from maskrcnn_workers.workers import Workers

PATIENCE_S = 60.0
CALL_S = 0.3
OPTIONS = PredictOptions()
HEIGHTS = {fault: height for height, fault in FAULTS.items()}
DEVICES = ("cuda:0", "cuda:1")

Start: TypeAlias = Callable[..., Workers]


def starts(loads: Sequence[Callable[[], Model]]) -> list[Callable[[], IsolatedModel]]:
    """Functions that load a model in a process of its own."""
    return [partial(IsolatedModel, load, name=f"pair/{i}") for i, load in enumerate(loads)]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts two workers with a faulty model, whose calls take `seconds`."""
    started = []

    def made(seconds: float = CALL_S) -> Workers:
        loads = [partial(load, tmp_path, "", seconds, device) for device in DEVICES]
        started.append(Workers(starts(loads)))
        return started[-1]

    yield made
    for workers in started:
        workers.close()
        workers.close()


def scheduled(workers: Workers, **options: int) -> Scheduler:
    return Scheduler(workers, turns=Turns(0), **({"max_waiting": 8} | options))


def image(fault: str = "", height: int = 30) -> Image:
    return np.full((HEIGHTS.get(fault, height), 40, 3), 200, np.uint8)


def ask(scheduler: Scheduler, pixels: Image) -> int:
    with scheduler.job(Caller(PATIENCE_S)) as job:
        (found,) = job.predict([pixels], OPTIONS)
    return len(found)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill(worker: IsolatedModel) -> None:
    os.kill(worker.pid, signal.SIGKILL)
    until(lambda: not worker.is_up())


def test_each_worker_has_its_own_process_and_device(start: Start) -> None:
    workers = start()
    assert len({worker.pid for worker in workers._workers} | {os.getpid()}) == 3
    assert workers.metadata.facts["device"] == "cuda:0, cuda:1"
    assert workers.metadata.facts["workers"] == "2"
    assert workers.workers() == [{"device": one, "status": "ready"} for one in DEVICES]
    assert all(isinstance(workers, kind) for kind in (Batches, Restarts, Parallel))
    assert (workers.batch_pixels, workers.network_shape((3, 4))) == (4096, (3, 4))


def test_two_calls_run_at_the_same_time_and_a_third_waits(start: Start) -> None:
    scheduler = scheduled(start(1.0))
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask, scheduler, image()) for _ in range(3)]
        until(lambda: scheduler.running == 2)
        assert scheduler.waiting == 1
        assert [one.result(PATIENCE_S) for one in asked] == [3, 3, 3]
    assert (scheduler.running, scheduler.calls.total()) == (0, 3)


def test_requests_that_wait_share_the_workers_calls(start: Start) -> None:
    """A worker that is free takes as many of them as fit into a call."""
    scheduler = scheduled(start(), max_batch=2)
    begin = threading.Barrier(8)

    def asked(_: int) -> int:
        begin.wait(PATIENCE_S)
        return ask(scheduler, image())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(asked, range(8))) == [3] * 8
    assert scheduler.calls[2] >= 2
    assert max(scheduler.calls) == 2


def test_while_one_restarts_the_other_computes(start: Start) -> None:
    workers = start()
    scheduler = scheduled(workers)
    kill(workers._workers[0])
    assert scheduler.is_up()
    assert [worker["status"] for worker in scheduler.workers] == ["restarting", "ready"]
    pid = workers._workers[1].pid
    assert [ask(scheduler, image()) for _ in range(2)] == [3, 3]
    until(lambda: workers.capacity == 2)
    assert (scheduler.restarts, workers._workers[1].pid) == (1, pid)


def test_a_call_that_is_lost_with_its_worker_is_computed_by_another(start: Start) -> None:
    workers = start()
    assert ask(scheduled(workers), image("once")) == 3
    until(lambda: workers.restarts == 1)


def test_a_request_that_ends_two_workers_is_told_so(start: Start) -> None:
    workers = start()
    scheduler = scheduled(workers)
    with pytest.raises(BackendCrashed, match=r"ended by itself \(exit code 3\)"):
        ask(scheduler, image("die"))
    assert ask(scheduler, image()) == 3
    until(lambda: workers.restarts == 2)


def test_only_if_all_fail_nobody_should_wait(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "MAX_FAILURES", 1)
    monkeypatch.setattr(IsolatedModel, "_restarted", lambda _: False)
    workers = start()
    first, second = workers._workers
    first._failures = second._failures = 1
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: workers.capacity == 1)
    failed, lives = workers.workers()
    assert (failed["status"], lives["status"]) == ("failed", "ready")
    assert "was killed by SIGKILL" in failed["reason"]
    assert workers.is_up()
    assert ask(scheduled(workers), image()) == 3
    second._failures = 1
    os.kill(second.pid, signal.SIGKILL)
    until(lambda: workers.capacity == 0)
    with pytest.raises(ModelFailed, match="model pair/1 ended 1 times"):
        workers.is_up()


def test_one_that_does_not_load_ends_the_others(tmp_path: Path) -> None:
    loads = [partial(load, tmp_path), partial(load, tmp_path, "raise")]
    with pytest.raises(InvalidModel, match="RuntimeError: on purpose"):
        Workers(starts(loads))
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_after_closing_nothing_runs(start: Start) -> None:
    workers = start()
    pids = [worker.pid for worker in workers._workers]
    assert scheduled(workers).close(PATIENCE_S)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


class GPUs:
    """An engine that computes on the GPUs of these indices."""

    name = "gpus"

    def __init__(self, *indices: int) -> None:
        self._usable = {f"cuda:{index}" for index in indices}

    def lacks(self, device: str, _precision: str, /) -> str | None:
        return None if device in self._usable else f"there is no {device}"

    def open(self, *_: object) -> None:
        raise NotImplementedError


class Computing(FaultyBackend):
    """A backend whose models an engine computes on a device, or none."""

    def __init__(self, engine: Engine, device: str) -> None:
        self._choice = Choice(engine, device, "the fastest")

    def choice(self, _config: ModelConfig, /) -> Choice:
        if not self._choice.device:
            raise InvalidSetting("no engine computes")
        return self._choice


@pytest.mark.parametrize(
    ("usable", "first", "found"),
    [
        ((0, 1, 2), "cuda:0", ["cuda:0", "cuda:1", "cuda:2"]),
        ((0, 2), "cuda:0", ["cuda:0", "cuda:2"]),
        ((), "cpu", ["auto"]),
        ((), "", ["auto"]),
    ],
    ids=["all", "but one", "the engine has none", "there is no engine"],
)
def test_a_model_has_every_gpu_that_its_engine_uses(
    tmp_path: Path, usable: tuple[int, ...], first: str, found: list[str]
) -> None:
    backend = Computing(GPUs(*usable), first)
    assert processes.usable_devices(backend, ModelConfig(model_dir=tmp_path), 3) == found


def test_which_gpus_are_used_is_found_out_in_a_process_that_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver has two GPUs, but the faulty backend computes without an engine."""
    monkeypatch.setattr(machine, "GPUS", tmp_path)
    model = Located(settings=ModelSettings(model=str(tmp_path)), folder=tmp_path, probes={})
    asked = []

    def noted(*given: Any) -> Worker:
        asked.append(given)
        return Worker(*given)

    monkeypatch.setattr(processes, "Worker", noted)
    for name in ("0000:17:00.0", "0000:65:00.0"):
        assert processes.devices(FaultyBackend(), model) == ["auto"]
        assert not asked
        (tmp_path / name).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "1")
        assert processes.devices(FaultyBackend(), model) == ["auto"]
        assert not asked
    assert processes.devices(FaultyBackend(), model) == ["auto"]
    assert [given[-1] for given in asked] == [2]


@pytest.mark.parametrize("device", ["cpu", "cuda:0", "cpu,cpu", "cuda:0,cuda:3"])
def test_devices_that_are_named_are_used_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(processes, "visible_gpus", lambda: 8)
    settings = ModelSettings(model=str(tmp_path), device=device)
    model = Located(settings=settings, folder=tmp_path, probes={})
    assert processes.devices(FaultyBackend(), model) == device.split(",")
    assert model.config("faulty").device == device.partition(",")[0]


def test_a_backend_without_engines_has_one_device(tmp_path: Path) -> None:
    config = ModelConfig(model_dir=tmp_path)
    assert processes.usable_devices(FaultyBackend(), config, 2) == ["auto"]
