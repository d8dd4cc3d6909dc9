"""Pings of servers, twenty a second, by a process of its own: a busy campaign delays none.

Run as a program with an address and a process id for each server, it writes a line for each ping:
which server, the time at which it was sent (seconds of `time.time`), its milliseconds, and those in
which the server's main thread could run, but other threads and processes had the CPUs.
"""

import http.client
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from maskrcnn_predict.child import Child

INTERVAL_S = 0.05
TIMEOUT_S = 30.0


class Pings:
    """The pings so far."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, float, float, float]] = []
        """Server (its index), time of sending in seconds, milliseconds, and those of waiting for a
        CPU, of each."""

    def longest(self, since: float, server: int = 0) -> tuple[float | None, float]:
        """The longest ping to a server since then in milliseconds (None: no ping), and the longest
        without what the server waited for a CPU."""
        chosen = [
            (ms, ms - wait) for which, at, ms, wait in self.lines if which == server and at >= since
        ]
        if not chosen:
            return None, 0
        return max(ms for ms, _ in chosen), max(own for _, own in chosen)


@contextmanager
def pinging(servers: Sequence[Child]) -> Iterator[Pings]:
    """Ping the servers meanwhile."""
    pings = Pings()
    command = [
        sys.executable,
        "-m",
        "maskrcnn_study.campaign.pinging",
        *(word for each in servers for word in (each.url, str(each.pid))),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def read() -> None:
        for line in process.stdout or ():
            which, at, ms, waited = line.split()
            pings.lines.append((int(which), float(at), float(ms), float(waited)))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield pings
    finally:
        process.terminate()
        process.wait()
        thread.join()


def _ping(which: int, url: str, pid: str) -> None:
    while True:
        at = time.time()
        start, waited = time.monotonic(), _waited_ms(pid)
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)
        try:
            connection.request("GET", "/ping")
            connection.getresponse().read()
            ms = 1000 * (time.monotonic() - start)
        except (OSError, http.client.HTTPException):
            # A ping without a reply is as bad as the longest.
            ms = 1000 * TIMEOUT_S
        finally:
            connection.close()
        # One write: two threads share the line otherwise.
        os.write(1, f"{which} {at:.3f} {ms:.1f} {_waited_ms(pid) - waited:.1f}\n".encode())
        time.sleep(max(0.0, INTERVAL_S - (time.monotonic() - start)))


def _waited_ms(pid: str) -> float:
    """Milliseconds so far in which the main thread of a process waited for a CPU; 0 if unknown.

    https://docs.kernel.org/scheduler/sched-stats.html
    """
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[1]) / 1e6
    except (OSError, IndexError):
        return 0


if __name__ == "__main__":
    for index, (each, process_id) in enumerate(zip(sys.argv[1::2], sys.argv[2::2], strict=True)):
        threading.Thread(target=_ping, args=(index, each, process_id)).start()
