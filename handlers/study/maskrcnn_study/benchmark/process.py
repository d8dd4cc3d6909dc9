"""Resources of a process of this machine and its children."""

from typing import TYPE_CHECKING

from maskrcnn_server.errors import InvalidSetting

if TYPE_CHECKING:
    import psutil


class Watched:
    """A process with its children, by its id. Raises InvalidSetting if there is none."""

    def __init__(self, pid: int) -> None:
        import psutil

        try:
            self._process = psutil.Process(pid)
        except psutil.NoSuchProcess:
            raise InvalidSetting(f"--pid {pid}: there is no such process") from None

    def cpu_s(self) -> float:
        """CPU seconds so far, of the processes that still run."""
        spent = [times for one in self._all() if (times := _cpu(one)) is not None]
        return sum(spent)

    def rss_mb(self) -> float:
        """Resident memory in MB (10^6 bytes); memory shared by several counts for each."""
        held = [size for one in self._all() if (size := _rss(one)) is not None]
        return sum(held) / 1e6

    def children(self) -> "list[psutil.Process]":
        """The processes that it started, and those that they did."""
        return self._all()[1:]

    def _all(self) -> "list[psutil.Process]":
        import psutil

        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def _cpu(process: "psutil.Process") -> float | None:
    import psutil

    try:
        times = process.cpu_times()
    except psutil.Error:
        return None
    return float(times.user + times.system)


def _rss(process: "psutil.Process") -> int | None:
    import psutil

    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return None
