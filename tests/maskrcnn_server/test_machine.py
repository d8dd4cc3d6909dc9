"""Limits of containers, as Linux tells them."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from maskrcnn_server import machine

GIB = 2**30


@pytest.fixture
def cgroup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A control group without limits, on a machine of 8 CPUs and 16 GiB."""
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 16 * GIB // 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    for folder in ("cpu", "memory"):
        (tmp_path / folder).mkdir()
    return tmp_path


def test_without_limits_the_machine_is_what_there_is(cgroup: Path) -> None:
    assert (machine.available_cpus(), machine.available_memory()) == (8, 16 * GIB)
    (cgroup / "cpu.max").write_text("max 100000\n")
    (cgroup / "memory.max").write_text("max\n")
    assert (machine.available_cpus(), machine.available_memory()) == (8, 16 * GIB)


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [("200000 100000", 2), ("250000 100000", 3), ("5000 100000", 1), ("9000000 100000", 8)],
)
def test_a_share_of_time_is_so_many_cpus(quota: str, cpus: int, cgroup: Path) -> None:
    (cgroup / "cpu.max").write_text(quota)
    assert machine.available_cpus() == cpus
    (cgroup / "cpu.max").unlink()
    for name, number in zip(("quota", "period"), quota.split(), strict=True):
        (cgroup / f"cpu/cpu.cfs_{name}_us").write_text(number)
    assert machine.available_cpus() == cpus


def test_no_quota_in_the_first_version_is_minus_one(cgroup: Path) -> None:
    (cgroup / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    (cgroup / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert machine.available_cpus() == 8


@pytest.mark.parametrize("file", ["memory.max", "memory/memory.limit_in_bytes"])
@pytest.mark.parametrize(("limit", "memory"), [(2 * GIB, 2 * GIB), (99 * GIB, 16 * GIB)])
def test_memory_is_the_lesser_limit(file: str, limit: int, memory: int, cgroup: Path) -> None:
    (cgroup / file).write_text(f"{limit}\n")
    assert machine.available_memory() == memory


def test_memory_is_given_back_once_for_all_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Callable[[], None]] = []

    class Timer:
        def __init__(self, _: float, function: Callable[[], None]) -> None:
            self.start = lambda: started.append(function)

    calls: list[None] = []
    monkeypatch.setattr(threading, "Timer", Timer)
    monkeypatch.setattr(machine, "give_back_memory", lambda: calls.append(None))
    for count in (1, 2):
        machine.give_back_memory_soon()
        machine.give_back_memory_soon()
        assert (len(started), len(calls)) == (count, count - 1)
        started[-1]()
        assert len(calls) == count


def test_without_another_thread_memory_may_be_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[None] = []

    def none_left(_: threading.Timer) -> None:
        tried.append(None)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", none_left)
    machine.give_back_memory_soon()
    machine.give_back_memory_soon()
    assert len(tried) == 2
