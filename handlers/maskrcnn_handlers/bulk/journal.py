"""What is done already, in a file that survives whatever ends the run."""

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from maskrcnn_client import Result
from maskrcnn_handlers.bulk.sources import Source
from maskrcnn_server.errors import InvalidSetting, MaskRCNNError

BEGINNING = b'{"asked":'


class Journal:
    """JSON lines: first what was asked, then one for each picture, its results or what failed.

    A line is written when its picture is done. The last one of a picture counts; a last line that
    is not whole is dropped. In memory is about 200 bytes for each picture.

    Raises InvalidSetting if the file has the answers to another question, or is written to by
    another process; OSError if it cannot be written.
    """

    def __init__(self, path: Path, asked: Mapping[str, object], *, restart: bool = False) -> None:
        self._path = path
        self._offsets: dict[int, int] = {}
        """Of the last line of each picture, by the hash of its name."""
        self._versions: dict[int, int] = {}
        """Hashes, by that of its name, of what each picture was when it was answered."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        try:
            self._lock()
            self._read(dict(asked), restart)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def has(self, source: Source) -> bool:
        """Whether the picture, as it is now, has been answered."""
        return self._versions.get(_hash(source.name)) == _hash(source.version)

    def add(self, source: Source, results: Sequence[Result], notes: Sequence[str] = ()) -> None:
        """The picture is answered."""
        line: dict[str, object] = {"results": results}
        if notes:
            line["notes"] = notes
        self._write(source, line)

    def fail(self, source: Source, error: MaskRCNNError) -> None:
        """The picture is not answered; a later run tries again."""
        self._write(source, {"error": {"code": error.code, "message": error.message}})

    def lines(self) -> Iterator[dict[str, Any]]:
        """What is written of each picture: `picture`, and `results` or `error`."""
        offsets = set(self._offsets.values())
        with self._path.open("rb") as file:
            offset = 0
            for line in file:
                if offset in offsets:
                    yield json.loads(line)
                offset += len(line)

    def results(self) -> Iterator[Result]:
        """Those of all pictures."""
        for line in self.lines():
            yield from line.get("results", ())

    def join(self, target: Path) -> None:
        """Write all results to a file as COCO has them, a list; not all are in memory at a time."""
        beside = target.with_name(f".{target.name}.part")
        with beside.open("w", encoding="utf-8") as file:
            separator = "["
            for result in self.results():
                file.write(separator + json.dumps(result, separators=(",", ":")))
                separator = ",\n"
            file.write("[]\n" if separator == "[" else "]\n")
        beside.replace(target)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidSetting(f"{self._path}: another process writes to it") from None

    def _read(self, asked: dict[str, object], restart: bool) -> None:
        self._file.seek(0)
        head = self._file.readline()
        # Nothing else is written over; a beginning may not have been finished.
        if not (head.startswith(BEGINNING) or BEGINNING.startswith(head)):
            raise self._foreign()
        if restart or not head.endswith(b"\n"):
            self._file.truncate(0)
            self._append({"asked": asked})
            return
        written = self._parsed(head).get("asked")
        if written != json.loads(json.dumps(asked)):
            raise InvalidSetting(
                f"{self._path}: has the answers to {json.dumps(written)}, and asked is now "
                f"{json.dumps(asked)}; --restart forgets them"
            )
        offset = self._file.tell()
        for line in self._file:
            if not line.endswith(b"\n"):
                self._file.truncate(offset)
                break
            self._remember(self._parsed(line), offset)
            offset += len(line)

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError):
            raise self._foreign() from None

    def _foreign(self) -> InvalidSetting:
        return InvalidSetting(f"{self._path}: is no journal of this program's")

    def _remember(self, line: Mapping[str, Any], offset: int) -> None:
        key = _hash(str(line.get("picture")))
        self._offsets[key] = offset
        self._versions.pop(key, None)
        if "results" in line:
            self._versions[key] = _hash(str(line.get("version")))

    def _write(self, source: Source, line: Mapping[str, object]) -> None:
        named = {"picture": source.name, "version": source.version, **line}
        self._remember(named, self._append(named))

    def _append(self, line: Mapping[str, object]) -> int:
        """Where the line begins."""
        offset = self._file.seek(0, 2)
        self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        return offset


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")
