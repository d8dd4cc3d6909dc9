"""Fetching files over HTTP and from S3: streamed, resumed where they broke off, or not at all.

One way for both, not boto3's transfer manager for S3: that starts over after a process that ended.
An object of 200 MiB on a local S3 (moto) that broke off at half: 0 bytes came twice here, 102 MiB
with `download_file`. Uninterrupted it took 0.6 to 0.9 s here, with its SHA-256, and 3.1 to 4.0 s
with `download_file`, of which much is moto's: it serves ten parallel ranges slowly. S3 itself may
be faster in parts than in one stream.
"""

import hashlib
import json
import socket
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from urllib.parse import unquote, urlsplit

from maskrcnn_server.errors import DownloadFailed
from maskrcnn_server.machine import STORAGE_FAULTS
from maskrcnn_server.optional import required

CHUNK = 1 << 20
MAX_ATTEMPTS = 5
TIMEOUT_S = 30

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes that have come, and all of them, if known."""


def silent(name: str, done: int, total: int | None) -> None:
    """No progress is shown."""


@dataclass(frozen=True)
class Remote:
    """A file somewhere else, as it is now."""

    name: str
    size: int | None
    version: str
    """Changes when the file does: an ETag, or whatever the place gives instead."""


class Source(Protocol):
    """A place that one file can be read from."""

    def look(self) -> Remote:
        """The file as it is now. Raises DownloadFailed."""

    def read(self, start: int, version: str) -> Iterator[bytes]:
        """The bytes from `start` on; of this version, or DownloadFailed."""


def fetch(source: Source, target: Path, progress: Progress = silent) -> str:
    """Fetch a file to `target`, and return its SHA-256.

    Bytes are written to `<target>.part`, which a later call resumes if the file is still the same,
    and moved to `target` when all have come. Raises DownloadFailed.
    """
    remote = source.look()
    part, state = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.state")
    if not state.exists() or json.loads(state.read_text()).get("version") != remote.version:
        part.unlink(missing_ok=True)
        state.write_text(json.dumps({"version": remote.version}))
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            _append(source, remote, part, progress)
            break
        except (OSError, HTTPException, DownloadFailed) as error:
            if getattr(error, "errno", None) in STORAGE_FAULTS:
                raise
            if attempt == MAX_ATTEMPTS:
                raise DownloadFailed(
                    f"{remote.name}: broke off {MAX_ATTEMPTS} times: {error}"
                ) from error
            time.sleep(0.1 * 2**attempt)
    part.replace(target)
    state.unlink()
    return sha256(target)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _append(source: Source, remote: Remote, part: Path, progress: Progress) -> None:
    done = part.stat().st_size if part.exists() else 0
    if remote.size is None or done < remote.size:
        with part.open("ab") as file:
            for chunk in source.read(done, remote.version):
                file.write(chunk)
                done += len(chunk)
                progress(remote.name, done, remote.size)
    if remote.size is not None and done != remote.size:
        raise DownloadFailed(f"{remote.name}: {done} of {remote.size} bytes came")


class HttpSource:
    """A file at an `http://` or `https://` address."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        self._url = parts._replace(netloc=host).geturl()
        self._authorization = f"Basic {b64encode(unquote(user).encode()).decode()}" if at else ""
        self._name = parts.path.rpartition("/")[2] or "download"

    def look(self) -> Remote:
        with self._open(method="HEAD") as reply:
            size = reply.headers.get("Content-Length")
            version = _version(reply)
        return Remote(self._name, None if size is None else int(size), version)

    def read(self, start: int, version: str) -> Iterator[bytes]:
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._open(headers=headers) as reply:
            if _version(reply) != version:
                raise DownloadFailed(f"{self._url}: the file has changed meanwhile")
            if start and reply.status != 206:
                # The place cannot resume: skip what is here already.
                _skip(reply, start)
            while chunk := reply.read(CHUNK):
                yield chunk

    def _open(self, method: str = "GET", headers: dict[str, str] | None = None) -> Any:
        try:
            request = urllib.request.Request(self._url, method=method, headers=headers or {})
            if self._authorization:
                request.add_unredirected_header("Authorization", self._authorization)
            return urllib.request.urlopen(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            raise DownloadFailed(f"{self._url}: {error.code} {error.reason}") from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, socket.gaierror):
                raise DownloadFailed(
                    f"{self._url}: no such host ({error.reason.strerror}); is the address right, "
                    "and does this machine need HTTPS_PROXY?"
                ) from error
            raise DownloadFailed(f"{self._url}: {error.reason}") from error
        except (HTTPException, ValueError) as error:
            # It may quote a part of the address that is secret.
            raise DownloadFailed(f"{self._url}: {type(error).__name__}") from None


def _version(reply: Any) -> str:
    return reply.headers.get("ETag") or reply.headers.get("Last-Modified") or "unknown"


def _skip(reply: Any, count: int) -> None:
    while count > 0 and (chunk := reply.read(min(CHUNK, count))):
        count -= len(chunk)


class S3Source:
    """An object in S3; `client` is boto3's."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self._client = client
        self._where = {"Bucket": bucket, "Key": key}
        self._name = key.rpartition("/")[2]

    def look(self) -> Remote:
        head = _s3(lambda: self._client.head_object(**self._where), self._where)
        return Remote(self._name, head["ContentLength"], head["ETag"])

    def read(self, start: int, version: str) -> Iterator[bytes]:
        reply = _s3(
            lambda: self._client.get_object(
                **self._where, Range=f"bytes={start}-", IfMatch=version
            ),
            self._where,
        )
        yield from reply["Body"].iter_chunks(CHUNK)


def s3_client() -> Any:
    """boto3's client, set up by the environment as always. Raises InvalidSetting without boto3."""
    return required("boto3", "maskrcnn-server[s3]").client("s3")


def s3_keys(client: Any, bucket: str, prefix: str) -> list[str]:
    """Every key below the prefix."""
    return [key for key, _ in s3_objects(client, bucket, prefix)]


def s3_objects(client: Any, bucket: str, prefix: str) -> Iterator[tuple[str, Remote]]:
    """Every key below the prefix and what is there, a page at a time. Raises DownloadFailed."""
    where = {"Bucket": bucket, "Key": prefix}
    pages = iter(client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix))
    while (page := _s3(lambda: next(pages, None), where)) is not None:
        for item in page.get("Contents", []):
            if not item["Key"].endswith("/"):
                name = item["Key"].rpartition("/")[2]
                yield item["Key"], Remote(name, item["Size"], item["ETag"])


def _s3(call: Callable[[], Any], where: dict[str, str]) -> Any:
    import botocore.exceptions

    try:
        return call()
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        address = f"s3://{where['Bucket']}/{where['Key']}"
        raise DownloadFailed(f"{address}: {error}") from error
