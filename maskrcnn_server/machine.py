"""What this process may use of the machine."""

import ctypes
import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
"""Linux's control groups, by which containers are limited: the second version or the first."""


CPUINFO = Path("/proc/cpuinfo")
CPU_FLAGS = {"bfloat16": "avx512_bf16"}
"""Linux's names of the instructions for products of such numbers; without them, they are emulated,
and slower than float32."""


def lacks_instructions(precision: str) -> str | None:
    """Why this CPU gains nothing from a precision: None if it does."""
    flag = CPU_FLAGS.get(precision)
    if flag is None or (CPUINFO.is_file() and flag in CPUINFO.read_text().split()):
        return None
    return f"this CPU has no instructions for {precision} ({flag})"


def available_memory() -> int:
    """Bytes of memory: the container's limit, or the machine's, if that is less."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (_numbers("memory.max"), _numbers("memory/memory.limit_in_bytes"))
    return min([physical, *(limit[0] for limit in limits if limit)])


def available_cpus() -> int:
    """CPUs: the share that the container has, rounded up, or those there are, if they are fewer."""
    affinity = getattr(os, "sched_getaffinity", None)
    there = len(affinity(0)) if affinity else os.cpu_count() or 1
    share = _numbers("cpu.max") or [
        *_numbers("cpu/cpu.cfs_quota_us"),
        *_numbers("cpu/cpu.cfs_period_us"),
    ]
    if len(share) == 2 and min(share) > 0:
        return min(there, math.ceil(share[0] / share[1]))
    return there


def _numbers(file: str) -> list[int]:
    """What a file of the control group says; nothing if there is none, or no limit."""
    try:
        return [int(word) for word in (CGROUP / file).read_text().split()]
    except (OSError, ValueError):
        return []


def give_back_memory() -> None:
    """Return what was freed to the system, where the C library is glibc, which would keep it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
