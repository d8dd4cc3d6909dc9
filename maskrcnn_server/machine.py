"""Memory and CPUs that this process may use."""

import ctypes
import errno
import math
import os
import threading
from pathlib import Path

STORAGE_FAULTS = (errno.EACCES, errno.EDQUOT, errno.ENOSPC, errno.EROFS)
"""Errors of a file system that go away by another one only."""
CGROUP = Path("/sys/fs/cgroup")
"""Folder of Linux control groups (version 1 or 2), which limit containers."""
GPUS = Path("/proc/driver/nvidia/gpus")
"""Folder in which NVIDIA's driver for Linux has a folder for each GPU."""
_is_asked = threading.Lock()


def available_memory() -> int:
    """Memory in bytes: the smaller of the machine's and the container's limit."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (_numbers("memory.max"), _numbers("memory/memory.limit_in_bytes"))
    return min([physical, *(limit[0] for limit in limits if limit)])


def available_cpus() -> int:
    """Number of CPUs: the container's share, rounded up, but at most the machine's."""
    affinity = getattr(os, "sched_getaffinity", None)
    there = len(affinity(0)) if affinity else os.cpu_count() or 1
    share = _numbers("cpu.max") or [
        *_numbers("cpu/cpu.cfs_quota_us"),
        *_numbers("cpu/cpu.cfs_period_us"),
    ]
    if len(share) == 2 and min(share) > 0:
        return min(there, math.ceil(share[0] / share[1]))
    return there


def gpus() -> int:
    """Number of NVIDIA GPUs; 0 if the driver does not say."""
    try:
        return len(list(GPUS.iterdir()))
    except OSError:
        return 0


def _numbers(file: str) -> list[int]:
    """Numbers in a file of the control group. Empty: no such file, or no limit."""
    try:
        return [int(word) for word in (CGROUP / file).read_text().split()]
    except (OSError, ValueError):
        return []


def give_back_memory_soon() -> None:
    """Return freed memory in a second, once for all who ask until then: it takes up to 20 ms."""

    def give_back() -> None:
        _is_asked.release()
        give_back_memory()

    if _is_asked.acquire(blocking=False):
        timer = threading.Timer(1, give_back)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # no more threads can be started
            _is_asked.release()


def give_back_memory() -> None:
    """Return freed memory to the system. Only glibc keeps it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
