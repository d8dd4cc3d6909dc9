"""Where the parts of a result are kept: a folder that all machines see, or a prefix in S3."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from maskrcnn_predict.addresses import Address, address
from maskrcnn_predict.journal import output_folder
from maskrcnn_server.errors import DownloadFailed, InvalidSetting
from maskrcnn_server.store.downloads import s3_client, s3_keys

if TYPE_CHECKING:
    from collections.abc import Callable


class Store(Protocol):
    """Files that are written whole, by any number of machines. It can be pickled.

    Each method raises InvalidSetting or DownloadFailed for what cannot be read or written.
    """

    def names(self, suffix: str) -> list[str]:
        """Names of the files with this suffix, sorted."""

    def read(self, name: str) -> bytes:
        """The whole file."""

    def start(self, name: str, count: int) -> bytes:
        """The first bytes of the file, `count` at most."""

    def end(self, name: str, count: int) -> bytes:
        """The last bytes of the file, `count` at most."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, or replace it: others see all of it, or what was there."""

    def remove(self, name: str) -> None:
        """Remove a file, which may be gone already."""


@dataclass(frozen=True)
class Folder:
    """A folder, which every machine of a cluster has at the same path."""

    path: Path

    def names(self, suffix: str) -> list[str]:
        output_folder(self.path)
        found = (path.name for path in self.path.iterdir())
        return sorted(name for name in found if name.endswith(suffix) and name[0] != ".")

    def read(self, name: str) -> bytes:
        return self._called((self.path / name).read_bytes)

    def start(self, name: str, count: int) -> bytes:
        def read() -> bytes:
            with (self.path / name).open("rb") as file:
                return file.read(count)

        return self._called(read)

    def end(self, name: str, count: int) -> bytes:
        def read() -> bytes:
            with (self.path / name).open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - count))
                return file.read(count)

        return self._called(read)

    def write(self, name: str, content: bytes) -> None:
        def write() -> bytes:
            self.path.mkdir(parents=True, exist_ok=True)
            part = self.path / f".{name}.{uuid.uuid4().hex}"
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path / name)
            return b""

        self._called(write)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def _called(self, operation: Callable[[], bytes]) -> bytes:
        try:
            return operation()
        except OSError as error:
            raise InvalidSetting(f"{self.path}: {error.strerror}") from error


@dataclass(frozen=True)
class Prefix:
    """A prefix in S3."""

    where: Address

    def names(self, suffix: str) -> list[str]:
        start = self.where.below("")
        keys = s3_keys(_client(), self.where.bucket, start)
        names = (key.removeprefix(start) for key in keys)
        return sorted(name for name in names if name.endswith(suffix) and "/" not in name)

    def read(self, name: str) -> bytes:
        return bytes(self._call("get_object", name)["Body"].read())

    def start(self, name: str, count: int) -> bytes:
        return bytes(self._call("get_object", name, Range=f"bytes=0-{count - 1}")["Body"].read())

    def end(self, name: str, count: int) -> bytes:
        return bytes(self._call("get_object", name, Range=f"bytes=-{count}")["Body"].read())

    def write(self, name: str, content: bytes) -> None:
        self._call("put_object", name, Body=content)

    def remove(self, name: str) -> None:
        self._call("delete_object", name)

    def _call(self, operation: str, name: str, **arguments: object) -> Any:
        import botocore.exceptions

        key = self.where.below(name)
        try:
            return getattr(_client(), operation)(Bucket=self.where.bucket, Key=key, **arguments)
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            raise DownloadFailed(f"s3://{self.where.bucket}/{key}: {error}") from error


def store(place: str) -> Store:
    """The store at a path or an `s3://` address. Raises InvalidSetting."""
    if place.startswith("s3://"):
        return Prefix(address(place))
    return Folder(Path(place).absolute())


@cache
def _client() -> Any:
    return s3_client()
