"""Pings of servers, twenty a second, by a process of its own: a busy campaign delays none.

Run as a program with addresses, it writes a line for each ping: which address, the time at which
it was sent (seconds of `time.time`), and milliseconds.
"""

import http.client
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

INTERVAL_S = 0.05
TIMEOUT_S = 30.0


class Pings:
    """The pings so far."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, float, float]] = []
        """Address (its index), time of sending in seconds, and milliseconds of each."""

    def longest_ms(self, since: float, address: int = 0) -> float | None:
        """The longest of the pings to an address that were sent since then. None: no ping."""
        chosen = [ms for which, at, ms in self.lines if which == address and at >= since]
        return max(chosen, default=None)


@contextmanager
def pinging(urls: Sequence[str]) -> Iterator[Pings]:
    """Ping the servers meanwhile."""
    pings = Pings()
    command = [sys.executable, "-m", "maskrcnn_study.campaign.pinging", *urls]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def read() -> None:
        for line in process.stdout or ():
            which, at, ms = line.split()
            pings.lines.append((int(which), float(at), float(ms)))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield pings
    finally:
        process.terminate()
        process.wait()
        thread.join()


def _ping(which: int, url: str) -> None:
    while True:
        at = time.time()
        start = time.monotonic()
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
        os.write(1, f"{which} {at:.3f} {ms:.1f}\n".encode())
        time.sleep(max(0.0, INTERVAL_S - (time.monotonic() - start)))


if __name__ == "__main__":
    for index, each in enumerate(sys.argv[1:]):
        threading.Thread(target=_ping, args=(index, each)).start()
