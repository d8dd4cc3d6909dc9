"""A tar that is read once from beginning to end, and whose headers are of bounded size."""

from __future__ import annotations

import tarfile
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from maskrcnn_server.work import Meter

MAX_HEADER_BYTES = 16 << 10
"""Maximum bytes of a member's attributes, such as a long name."""
HEADER_STEPS = 30
"""Steps of work that a header takes."""
CHUNK = 1 << 20


class Readable(Protocol):
    """The content of a member."""

    def read(self, size: int, /) -> bytes:
        """At most `size` of the next bytes; none at the end."""


class TarStream:
    """What `tarfile` takes for a file, and reads headers from; contents are read by `content`.

    Nothing is read twice: in a compressed file, going back means to begin again.
    """

    def __init__(self, file: IO[bytes], meter: Meter) -> None:
        self._file = file
        self._meter = meter
        self._at = 0
        self._read = 0
        self._last = b""

    def tell(self) -> int:
        """The offset of the next read."""
        return self._at

    def seek(self, offset: int) -> None:
        """Read on from an offset, which is reached by the next read."""
        self._at = offset

    def read(self, size: int) -> bytes:
        """A header. Raises ReadError if it is too large, TooMuchWork after too many."""
        if size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"attributes of more than {MAX_HEADER_BYTES} bytes")
        # Attributes are searched in a time that grows with the square of their size.
        self._meter.spend(HEADER_STEPS if size <= tarfile.BLOCKSIZE else size * size // 1000)
        return self._next(size)

    def content(self, offset: int, size: int) -> Readable:
        """The content of the member whose header was read last."""
        return _Content(self, offset, size)

    def _next(self, size: int) -> bytes:
        if size == 1 and self._at == self._read - 1:
            self._at = self._read
            return self._last
        if self._at < self._read:
            raise tarfile.ReadError("its members overlap")
        while self._read < self._at:
            skipped = self._file.read(min(CHUNK, self._at - self._read))
            if not skipped:
                return b""
            self._read += len(skipped)
            self._meter.spend_bytes(len(skipped))
        data = self._file.read(size)
        self._read += len(data)
        self._at = self._read
        self._last = data[-1:]
        return data


class _Content:
    def __init__(self, stream: TarStream, offset: int, size: int) -> None:
        self._stream = stream
        self._at = offset
        self._end = offset + size

    def read(self, size: int, /) -> bytes:
        """The next bytes. Raises ReadError if the archive ends before."""
        wanted = min(size, self._end - self._at)
        if not wanted:
            return b""
        self._stream.seek(self._at)
        data = self._stream._next(wanted)
        if not data:
            raise tarfile.ReadError("unexpected end of data")
        self._at += len(data)
        return data
