"""A budget of work for reading files from strangers.

Readers count what they do. A file that keeps them busy for longer than any model's is refused,
whatever the trick is.
"""

import time
import weakref
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO

from maskrcnn_server.errors import InvalidModel

MAX_STEPS = 1_000_000
"""Maximum number of steps for one model. A step takes about a microsecond: an object is made, a
field is parsed, or a kibibyte is copied. The files of a large model take less than a quarter."""
MAX_SECONDS = 60.0
"""Maximum time for one model, for what no step counts."""
STEP_BYTES = 1024
"""Number of bytes that are read in one step."""
MEMBER_BYTES = 6
"""Number of bytes of a zip file's directory that are parsed in one step."""


class TooMuchWork(InvalidModel):
    """A file that takes more work to read than a model's does."""


class Work:
    """The work that has been done for one model."""

    def __init__(self, max_steps: int = MAX_STEPS, max_seconds: float = MAX_SECONDS) -> None:
        self.steps = 0
        self.max_steps = max_steps
        self.end = time.monotonic() + max_seconds


class Meter:
    """Counter of the work on one file; it draws on the budget of the whole model."""

    def __init__(self, path: Path, work: Work) -> None:
        self._path = path
        self._work = work

    def spend(self, steps: int = 1) -> None:
        """Count steps. Raises TooMuchWork if there were too many, or if too much time passed."""
        work = self._work
        before = work.steps
        work.steps = min(before + steps, work.max_steps + 1)
        if work.steps > work.max_steps:
            raise TooMuchWork(
                f"{self._path}: takes more work to read than the files of a model do "
                f"({work.max_steps} steps): it is damaged, or made to harm"
            )
        # The clock is not read at each step.
        if work.steps >> 12 != before >> 12 and time.monotonic() > work.end:
            raise TooMuchWork(f"{self._path}: takes too long to read")

    def spend_bytes(self, count: int) -> None:
        """Count the steps of reading bytes. Raises TooMuchWork."""
        self.spend(count // STEP_BYTES)


_current: ContextVar[Work | None] = ContextVar("work", default=None)


@contextmanager
def limited(work: Work | None = None) -> Iterator[Work]:
    """Give all readers inside this context, in this thread, one budget together."""
    budget = Work() if work is None else work
    token = _current.set(budget)
    try:
        yield budget
    finally:
        _current.reset(token)


def meter(path: Path) -> Meter:
    """A counter for a file; outside of `limited` with a budget of its own."""
    return Meter(path, _current.get() or Work())


class MeteredFile:
    """A file open for reading, whose calls and bytes are counted before they are read."""

    def __init__(self, file: IO[bytes], meter: Meter, step_bytes: int = STEP_BYTES) -> None:
        self._file = file
        self._meter = meter
        self.step_bytes = step_bytes
        """Number of bytes that count as a step. 0: nothing is counted any more."""
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes."""
        if self.step_bytes:
            self._meter.spend(1 + max(size, 0) // self.step_bytes)
        return self._file.read(size)

    def readline(self) -> bytes:
        """The next line, of a mebibyte at most."""
        line = self._file.readline(1 << 20)
        self._meter.spend(1 + len(line) // STEP_BYTES)
        return line


def open_zip(path: Path, meter: Meter) -> zipfile.ZipFile:
    """Open a zip file, whose directory is counted; what is read of its members is not.

    Raises BadZipFile, and OSError if it cannot be read.
    """
    raw = path.open("rb")
    file = MeteredFile(raw, meter, MEMBER_BYTES)
    try:
        archive = zipfile.ZipFile(file)
    except BaseException:
        raw.close()
        raise
    file.step_bytes = 0
    weakref.finalize(archive, raw.close)
    return archive
