"""What is done already, in a file that outlives the run."""

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from maskrcnn_handlers.formats.coco_results import CocoResult
from maskrcnn_predict.sources import Source
from maskrcnn_server.errors import InvalidSetting, MaskRCNNError

BEGINNING = b'{"asked":'


class Journal:
    """JSON lines: first what was asked, then one for each image, its results or what failed.

    A line is written when its image is done. The last line of an image counts; a last line that is
    cut off is dropped. Each image takes about 200 bytes of memory.

    Raises InvalidSetting if the file holds results of something else, another process writes to it,
    or it cannot be written.
    """

    def __init__(self, path: Path, asked: Mapping[str, object], *, restart: bool = False) -> None:
        self._path = path
        self._offsets: dict[int, int] = {}
        """Where the last line of each image begins, by the hash of the image's name."""
        self._versions: dict[int, int] = {}
        """Hash of the version of each image that has results, by the hash of the image's name."""
        output_folder(path.parent)
        try:
            self._file = path.open("a+b")
        except OSError as error:
            raise InvalidSetting(f"{path}: {error.strerror}") from None
        try:
            self._lock()
            self._read(dict(asked), restart)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Keep what is written. Nothing is written after."""
        self._file.close()

    def has(self, source: Source) -> bool:
        """Whether there are results for the image as it is now."""
        return self._versions.get(_hash(source.name)) == _hash(source.version)

    def add(self, source: Source, results: Sequence[CocoResult], notes: Sequence[str] = ()) -> None:
        """Keep the results for the image."""
        line: dict[str, object] = {"results": results}
        if notes:
            line["notes"] = notes
        self._write(source, line)

    def fail(self, source: Source, error: MaskRCNNError) -> None:
        """Keep the reason why there are no results; a later run tries again."""
        self._write(source, {"error": {"code": error.code, "message": error.message}})

    def lines(self) -> Iterator[dict[str, Any]]:
        """The last line of each image: `picture`, its name, `image_id`, and `results` or
        `error`."""
        offsets = set(self._offsets.values())
        with self._path.open("rb") as file:
            offset = 0
            for line in file:
                if offset in offsets:
                    yield json.loads(line)
                offset += len(line)

    def results(self) -> Iterator[CocoResult]:
        """The results for all images."""
        for line in self.lines():
            yield from line.get("results", ())

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
                f"{self._path} holds the results of {json.dumps(written)}, not of "
                f"{json.dumps(asked)}; --restart drops them"
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
        return InvalidSetting(f"{self._path} is not a journal of this program")

    def _remember(self, line: Mapping[str, Any], offset: int) -> None:
        key = _hash(str(line.get("picture")))
        self._offsets[key] = offset
        self._versions.pop(key, None)
        if "results" in line:
            self._versions[key] = _hash(str(line.get("version")))

    def _write(self, source: Source, line: Mapping[str, object]) -> None:
        named = {
            "picture": source.name,
            "image_id": source.image_id,
            "version": source.version,
            **line,
        }
        self._remember(named, self._append(named))

    def _append(self, line: Mapping[str, object]) -> int:
        """Where the line begins."""
        offset = self._file.seek(0, 2)
        self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        return offset


def output_folder(folder: Path) -> None:
    """Make a folder for results. Raises InvalidSetting if it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSetting(f"{folder}: {error.strerror}") from None


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")
