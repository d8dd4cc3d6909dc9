"""Processes that work for this one."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import worker_tasks
from worker_tasks import chatter, crash, echo, end, sleep

from maskrcnn_workers.worker import MAX_LINE_BYTES, MAX_LINES, Worker

MAX_WAIT_S = 30.0


def answer(worker: Worker) -> object:
    assert worker.connection.poll(MAX_WAIT_S)
    return worker.connection.recv()


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    deadline = time.monotonic() + MAX_WAIT_S
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_running(pid)


def test_a_process_works_and_is_closed_and_reaped() -> None:
    worker = Worker("w", echo, 1, Path("/a"))
    assert answer(worker) == (1, Path("/a"))
    worker.connection.send("hello")
    assert answer(worker) == "hello"
    for _ in range(2):
        worker.close()
    assert worker.ended.is_set()
    assert not Path(f"/proc/{worker.pid}").exists()


def test_what_it_prints_is_logged_by_its_name_and_never_blocks_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "maskrcnn_workers.worker"):
        worker = Worker("street", chatter)
        assert answer(worker) == "done"
        worker.close()
    assert ("WARNING", "street: something odd") in [
        (record.levelname, record.message) for record in caplog.records
    ]
    assert max(map(len, worker.lines)) <= MAX_LINE_BYTES
    assert len(worker.lines) <= MAX_LINES
    assert worker.lines[-1] == "\N{REPLACEMENT CHARACTER} not text"


@pytest.mark.parametrize(
    ("work", "arguments", "said"),
    [
        (end, (3,), "ended by itself (exit code 3)"),
        (crash, (), "was killed by SIGSEGV"),
    ],
    ids=["exit", "crash"],
)
def test_it_is_said_how_a_process_ended(work: object, arguments: tuple[int], said: str) -> None:
    worker = Worker("w", work, *arguments)  # type: ignore[arg-type]
    assert worker.connection.poll(MAX_WAIT_S)
    with pytest.raises(EOFError):
        worker.connection.recv()
    assert worker.obituary() == said
    worker.close()


def test_a_crash_shows_where() -> None:
    worker = Worker("w", crash)
    worker.ended.wait(MAX_WAIT_S)
    assert any("in crash" in line for line in worker.lines)
    worker.close()


def test_whatever_it_started_ends_with_it() -> None:
    worker = Worker("w", sleep)
    grandchild = answer(worker)
    assert isinstance(grandchild, int)
    worker.kill("it was not wanted")
    assert worker.obituary() == "was ended: it was not wanted"
    assert gone(grandchild)
    worker.close()


def test_it_ends_with_the_process_that_started_it() -> None:
    program = (
        "import os, sys; from maskrcnn_workers.worker import Worker\n"
        "from worker_tasks import sleep\n"
        "worker = Worker('w', sleep); worker.connection.recv()\n"
        "print(worker.pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    folder = Path(worker_tasks.__file__).parent
    killed = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert gone(int(killed.stdout))


def test_signals_that_end_a_server_leave_it_to_finish() -> None:
    worker = Worker("w", echo)
    answer(worker)
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(worker.pid, number)
    worker.connection.send("still there")
    assert answer(worker) == "still there"
    worker.close()


def count() -> int:
    """Of this process' descriptors."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_process_that_cannot_be_started_is_an_error_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    before = count()
    with pytest.raises(FileNotFoundError, match="/no/such/python"):
        Worker("w", end, 0)
    deadline = time.monotonic() + MAX_WAIT_S
    while count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_descriptors_do_not_pile_up() -> None:
    Worker("w", end, 0).close()
    before = count()
    for _ in range(3):
        Worker("w", end, 0).close()
    assert count() <= before
