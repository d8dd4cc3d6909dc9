"""Where results go: journals, one for each process, and the file that joins them."""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from maskrcnn_predict.addresses import Address, address
from maskrcnn_predict.joining import Joined, Lines, join
from maskrcnn_predict.journal import Journal
from maskrcnn_predict.remote_journal import RemoteJournal, fetch
from maskrcnn_predict.shards import Shard
from maskrcnn_predict.sources import Source
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.store.downloads import s3_client, s3_keys

PART = re.compile(r"(\d{5,6})-of-(\d{5,6})")
SUFFIX = ".json"


class Output(Protocol):
    """A file of results, and the journals that it is joined from."""

    def journal(
        self, shard: Shard | None, asked: Mapping[str, object], *, restart: bool
    ) -> Journal:
        """Journal of a shard; None: of a process alone. Raises InvalidSetting."""

    def finish(self, lines: Lines) -> Joined:
        """Write the file from these lines."""

    def join(self, asked: Mapping[str, object], sources: Iterator[Source]) -> tuple[Joined, int]:
        """Join the journals of all shards; also the number of images that none of them has.

        Raises InvalidSetting if there are none, or not all of them.
        """


@dataclass(frozen=True)
class LocalOutput:
    """A file of this machine, or of a file system that machines share."""

    path: Path

    def journal(
        self, shard: Shard | None, asked: Mapping[str, object], *, restart: bool
    ) -> Journal:
        named = self.path.stem if shard is None else f"{self.path.stem}.{shard}"
        return Journal(self.path.with_name(f"{named}.jsonl"), asked, restart=restart)

    def finish(self, lines: Lines) -> Joined:
        return join(lines, self.path)

    def join(self, asked: Mapping[str, object], sources: Iterator[Source]) -> tuple[Joined, int]:
        paths = {
            path.name: path for path in sorted(self.path.parent.glob(f"{self.path.stem}.*.jsonl"))
        }
        names = {name: name.removeprefix(f"{self.path.stem}.")[:-6] for name in paths}
        parts = _whole({names[name]: path for name, path in paths.items()}, str(self.path))
        return _joined(parts, asked, sources, self.path)


@dataclass(frozen=True)
class S3Output:
    """An object in S3. Journals are prefixes next to it."""

    where: Address

    def journal(
        self, shard: Shard | None, asked: Mapping[str, object], *, restart: bool
    ) -> Journal:
        prefix = self._prefix("journal" if shard is None else str(shard))
        # The copy goes when it is closed.
        return _Temporary(prefix, asked, restart=restart)

    def finish(self, lines: Lines) -> Joined:
        with self._written() as target:
            return join(lines, target)

    def join(self, asked: Mapping[str, object], sources: Iterator[Source]) -> tuple[Joined, int]:
        client = s3_client()
        start = self._prefix("").key
        keys = s3_keys(client, self.where.bucket, start)
        found = sorted({key.removeprefix(start).partition("/")[0] for key in keys})
        with tempfile.TemporaryDirectory() as folder, self._written() as target:
            parts = _whole({name: Path(folder) / name for name in found}, str(self.where))
            for path in parts:
                fetch(client, self._prefix(path.name), path)
            return _joined(parts, asked, sources, target)

    def _prefix(self, name: str) -> Address:
        return Address(self.where.bucket, f"{self.where.key.removesuffix(SUFFIX)}.{name}")

    @contextmanager
    def _written(self) -> Iterator[Path]:
        """A file that becomes the object."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "joined.json"
            yield path
            s3_client().upload_file(str(path), self.where.bucket, self.where.key)


class _Temporary(RemoteJournal):
    """A journal in S3, whose copy on this machine lasts as long as the process."""

    def __init__(self, prefix: Address, asked: Mapping[str, object], *, restart: bool) -> None:
        self._folder = tempfile.TemporaryDirectory()
        super().__init__(prefix, Path(self._folder.name) / "journal", asked, restart=restart)

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._folder.cleanup()


def output(text: str) -> Output:
    """The output at a path or an `s3://` address. Raises InvalidSetting."""
    is_remote = text.startswith("s3://")
    if text.endswith(".jsonl") or (is_remote and not text.endswith(SUFFIX)):
        raise InvalidSetting(f"--json {text}: its lines are kept by that name; name FILE.json")
    return S3Output(address(text)) if is_remote else LocalOutput(Path(text))


def _whole(found: Mapping[str, Path], where: str) -> Sequence[Path]:
    """The parts in order. Raises InvalidSetting if some are not there."""
    parts = {name: path for name, path in found.items() if PART.fullmatch(name)}
    counts = {name.partition("-of-")[2] for name in parts}
    if len(counts) != 1:
        held = ", ".join(sorted(counts))
        wrong = f"parts of {held} shards: remove those of other runs" if held else "no parts"
        raise InvalidSetting(f"{where}: {wrong}")
    count = int(counts.pop())
    missing = [str(i) for i in range(count) if str(Shard(i, count)) not in parts]
    if missing:
        shown = ", ".join(missing[:8])
        raise InvalidSetting(f"{where}: {len(missing)} of {count} shards have not begun: {shown}")
    return [parts[name] for name in sorted(parts)]


def _lines(parts: Sequence[Path], asked: Mapping[str, object]) -> Iterator[dict[str, Any]]:
    for part in parts:
        with Journal(part, asked) as journal:
            yield from journal.lines()


def _joined(
    parts: Sequence[Path], asked: Mapping[str, object], sources: Iterator[Source], target: Path
) -> tuple[Joined, int]:
    joined = join(partial(_lines, parts, asked), target)
    # 64 bits of each name; with ten million names, two share theirs once in 400,000 runs.
    written = {hash(line["picture"]) for line in _lines(parts, asked)}
    listed = {hash(source.name) for source in sources}
    return joined, len(listed - written)
