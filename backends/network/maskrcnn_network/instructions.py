"""Instructions of this machine's CPU."""

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
CPU_FLAGS = {"bfloat16": "avx512_bf16"}
"""CPU flags in /proc/cpuinfo by precision. Without the instructions, the CPU emulates the
precision, slower than float32."""


def lacks_instructions(precision: str) -> str | None:
    """Reason why a precision does not pay on this CPU. None: it pays."""
    flag = CPU_FLAGS.get(precision)
    if flag is None or (CPUINFO.is_file() and flag in CPUINFO.read_text().split()):
        return None
    return f"this CPU has no instructions for {precision} ({flag})"
