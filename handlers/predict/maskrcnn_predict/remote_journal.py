"""A journal that is kept in S3, as objects that are written once."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from maskrcnn_predict.addresses import Address
from maskrcnn_predict.journal import Journal
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.store.downloads import S3Source, s3_client, s3_objects

MAX_LINES = 500
"""Number of lines after which an object is written."""
MAX_SECONDS = 30.0
"""Time after which an object is written, with the next line."""
MAX_BYTES = 8 << 20
"""Size after which an object is written."""
TAKEN = ("PreconditionFailed", "ConditionalRequestConflict")
"""Codes of S3's errors for an object that another process has written."""


class RemoteJournal(Journal):
    """A journal below a prefix in S3, and a copy in a file while it is written.

    Objects are never changed: what comes next is another one, so a process that ends at any time
    loses the lines since its last object, and the next one does those images again. Two processes
    that write to one prefix are noticed when the second writes.

    Raises InvalidSetting as `Journal` does, DownloadFailed for what cannot be read.
    """

    def __init__(
        self, prefix: Address, path: Path, asked: Mapping[str, object], *, restart: bool = False
    ) -> None:
        self._prefix = prefix
        self._client = s3_client()
        self._count = fetch(self._client, prefix, path)
        self._sent = path.stat().st_size
        self._lines = 0
        self._time = time.monotonic()
        super().__init__(path, asked, restart=restart)
        if restart:
            # What is left, if this ends halfway, is still a journal.
            for key in reversed(list(_keys(self._client, prefix))):
                self._call(self._client.delete_object, Key=key)
            self._count = self._sent = 0
        self.send()

    def close(self) -> None:
        try:
            self.send()
        finally:
            super().close()

    def send(self) -> None:
        """Write what is new. Raises InvalidSetting if it cannot be written."""
        with self._path.open("rb") as file:
            file.seek(self._sent)
            content = file.read()
        if content:
            key = self._prefix.below(f"{self._count:08}.jsonl")
            self._call(self._client.put_object, Key=key, Body=content, IfNoneMatch="*")
        self._count += bool(content)
        self._sent += len(content)
        self._lines, self._time = 0, time.monotonic()

    def _append(self, line: Mapping[str, object]) -> int:
        offset = super()._append(line)
        self._lines += 1
        if (
            self._lines >= MAX_LINES
            or time.monotonic() - self._time >= MAX_SECONDS
            or offset - self._sent >= MAX_BYTES
        ):
            self.send()
        return offset

    def _call(self, operation: Callable[..., Any], **arguments: object) -> None:
        import botocore.exceptions

        try:
            operation(Bucket=self._prefix.bucket, **arguments)
        except botocore.exceptions.ClientError as error:
            if error.response.get("Error", {}).get("Code") in TAKEN:
                raise InvalidSetting(f"{self._prefix}: another process writes to it") from None
            raise InvalidSetting(f"{self._prefix}: {error}") from error
        except botocore.exceptions.BotoCoreError as error:
            raise InvalidSetting(f"{self._prefix}: {error}") from error


def fetch(client: Any, prefix: Address, path: Path) -> int:
    """Write the journal below a prefix to a file; the number of its objects.

    Raises InvalidSetting if it is not whole, DownloadFailed.
    """
    count = 0
    with path.open("wb") as file:
        for key in _keys(client, prefix):
            if key != prefix.below(f"{count:08}.jsonl"):
                raise InvalidSetting(f"s3://{prefix.bucket}/{key} is not a part of a journal")
            source = S3Source(client, prefix.bucket, key)
            for chunk in source.read(0, source.look().version):
                file.write(chunk)
            count += 1
    return count


def _keys(client: Any, prefix: Address) -> Iterator[str]:
    """Keys of the objects, in their order, which is that of their names."""
    for key, _ in s3_objects(client, prefix.bucket, prefix.below("")):
        yield key
