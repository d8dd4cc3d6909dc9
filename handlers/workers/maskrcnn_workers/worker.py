"""A child process: started, watched, logged, and ended together with this one."""

import contextlib
import ctypes
import faulthandler
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

BOOT = "import sys; sys.path[:] = {path!r}; from maskrcnn_workers.worker import main; main({file})"
MAX_LINES, MAX_LINE_BYTES = 20, 2000
"""Number of lines of its output that are kept, and bytes of each."""
WATCH_S = 0.1
REAP_TIMEOUT_S = 5.0
"""Seconds to wait for a killed process to be gone."""
PR_SET_PDEATHSIG = 1
"""Option of prctl(2): the signal at the death of the parent."""
LEVELS = {name: getattr(logging, name) for name in ("DEBUG", "INFO", "WARNING", "ERROR")}

logger = logging.getLogger(__name__)


class Worker:
    """A Python process that calls `work(connection, *arguments)` and ends when this process does.

    Its output is logged line by line under its name. `files` are descriptors that it inherits under
    the same numbers. It is killed if it takes more than `memory_limit` bytes.
    """

    def __init__(
        self,
        name: str,
        work: Callable[..., None],
        *arguments: object,
        files: Sequence[int] = (),
        memory_limit: int | None = None,
        log_level: int = logging.INFO,
    ) -> None:
        """`work` is a module-level function; the arguments can be pickled."""
        self.name = name
        self.connection, theirs = Pipe()
        self.lines: deque[str] = deque(maxlen=MAX_LINES)
        """Last lines of its output."""
        self.ended = threading.Event()
        self.reason = ""
        """Reason for the kill. Empty: not killed, or ended by itself."""
        self._log_level = log_level
        started: Future[subprocess.Popen[bytes]] = Future()
        life = (started, (theirs.fileno(), *files))
        # The kernel ends the process when the thread that started it ends: this one lives as long.
        threading.Thread(target=self._live, args=life, name=f"worker {name}", daemon=True).start()
        try:
            self._process = started.result()
        except BaseException:
            self.connection.close()
            raise
        finally:
            theirs.close()
        if memory_limit is not None:
            watch = (memory_limit,)
            threading.Thread(target=self._watch, args=watch, name="memory", daemon=True).start()
        level = logging.getLogger().getEffectiveLevel()
        with contextlib.suppress(OSError):  # it died: who waits for its answer hears of it
            self.connection.send_bytes(pickle.dumps((level, work, arguments)))

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_ending(self) -> bool:
        """Whether the process is dead or was killed."""
        return bool(self.reason) or self.ended.is_set()

    def kill(self, reason: str = "") -> None:
        """Kill the process and all that it started, now. May be called twice."""
        if not self.ended.is_set():
            self.reason = self.reason or reason
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process and wait for it. May be called twice."""
        self.kill("it was closed")
        self.connection.close()
        self.ended.wait(REAP_TIMEOUT_S)

    def obituary(self) -> str:
        """How the process ended, as the predicate of a sentence. Waits for its end."""
        self.ended.wait(REAP_TIMEOUT_S)
        code = self._process.returncode
        if self.reason or code is None:
            return f"was ended: {self.reason or 'it gave no answer'}"
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended by itself (exit code {code})"

    def _live(self, started: "Future[subprocess.Popen[bytes]]", files: tuple[int, ...]) -> None:
        """Start the process, log its output, and reap it."""
        boot = BOOT.format(path=sys.path, file=files[0])
        ours, theirs = os.pipe()
        with os.fdopen(ours, "rb") as printed:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-u", "-c", boot, self.name],
                    stdin=subprocess.DEVNULL,
                    stdout=theirs,
                    stderr=theirs,
                    pass_fds=files,
                    start_new_session=True,
                )
            except BaseException as error:
                started.set_exception(error)
                return
            finally:
                os.close(theirs)
            started.set_result(process)
            while line := printed.readline(MAX_LINE_BYTES):
                self._hear(line.decode(errors="replace").rstrip())
        process.wait()
        self.ended.set()

    def _hear(self, line: str) -> None:
        level, _, message = line.partition(" ")
        self.lines.append(message if level in LEVELS else line)
        logger.log(LEVELS.get(level, self._log_level), "%s: %s", self.name, self.lines[-1])

    def _watch(self, memory_limit: int) -> None:
        while not self.ended.wait(WATCH_S):
            memory = _resident(self.pid)
            if memory > memory_limit:
                self.kill(f"it took {memory >> 20} MB of memory, of {memory_limit >> 20} allowed")


def main(file: int) -> None:
    """Entry point of the process."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Whoever means to end a server lets it finish first, and it ends this one.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    connection = Connection(file)
    try:
        level, work, arguments = pickle.loads(  # noqa: S301 (from the process that started this)
            connection.recv_bytes()
        )
    except EOFError:
        return
    logging.basicConfig(format="%(levelname)s %(message)s", level=level)
    work(connection, *arguments)


def _resident(pid: int) -> int:
    """Resident memory of a process in bytes; 0 if unknown."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
