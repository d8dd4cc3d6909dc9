"""Fetches image files by their addresses, within limits.

An address is checked against an allow-list, and its host's name is looked up once: what is checked
is what is connected to (a name may have another address a moment later: DNS rebinding).
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from maskrcnn_protocols.allowed import Allowed, Place, is_public
from maskrcnn_server.errors import PayloadTooLarge, QueueFull, RequestError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_REDIRECTS = 3
MAX_AT_ONCE = 16
"""Number of images that are fetched at the same time at most."""
CHUNK_BYTES = 1 << 16
REDIRECTS = (301, 302, 303, 307, 308)


class NotFetched(RequestError):
    """The image cannot be fetched from its address."""

    code = "image_not_fetched"


class Fetcher:
    """Fetches images from `allowed` addresses: each of `max_bytes`, in `timeout_s`, at most.

    Names that lead to private addresses are refused unless `private`.
    """

    def __init__(
        self, allowed: Allowed, *, max_bytes: int, timeout_s: float, private: bool = False
    ) -> None:
        self._allowed = allowed
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._private = private
        self._free = threading.BoundedSemaphore(MAX_AT_ONCE)
        self._names = ThreadPoolExecutor(MAX_AT_ONCE, thread_name_prefix="names")

    def __bool__(self) -> bool:
        return bool(self._allowed)

    def fetch(self, url: str, headers: Mapping[str, str] | None = None) -> bytes:
        """The file at an address. `headers` go to its origin only, not where it redirects.

        Raises RequestError, PayloadTooLarge, and QueueFull while many others are being fetched.
        """
        if not self._free.acquire(blocking=False):
            raise QueueFull("too many images are being fetched; try again", retry_after_s=1)
        try:
            return self._fetch(url, headers or {}, time.monotonic() + self._timeout_s)
        finally:
            self._free.release()

    def _fetch(self, url: str, headers: Mapping[str, str], deadline: float) -> bytes:
        place = first = self._allowed.check(url)
        for _ in range(MAX_REDIRECTS + 1):
            if place.scheme == "s3":
                return self._from_s3(place)
            sent = headers if place.origin == first.origin else {}
            try:
                with self._asked(place, sent, deadline) as reply:
                    body = b"" if reply.status in REDIRECTS else self._body(reply, place)
                    # The clock ends the reply, as its server would.
                    if time.monotonic() >= deadline:
                        raise TimeoutError
                    if reply.status not in REDIRECTS:
                        return body
                    url = urljoin(url, reply.headers.get("location", ""))
            except (OSError, http.client.HTTPException) as error:
                late = isinstance(error, TimeoutError) or time.monotonic() >= deadline
                why = f"not within {self._timeout_s:g} s" if late else type(error).__name__
                raise NotFetched(f"{_shown(place)}: cannot be fetched ({why})") from None
            place = self._allowed.check(url)
        raise NotFetched(f"{_shown(first)}: more than {MAX_REDIRECTS} redirects")

    @contextmanager
    def _asked(
        self, place: Place, headers: Mapping[str, str], deadline: float
    ) -> Iterator[http.client.HTTPResponse]:
        addresses = self._addresses(place, deadline)
        port = place.port or 0
        connection: http.client.HTTPConnection = (
            _PinnedTls(place.host, port, context=ssl.create_default_context())
            if place.scheme == "https"
            else http.client.HTTPConnection(place.host, port)
        )
        opened = _connected(addresses, port, deadline)
        if isinstance(connection, _PinnedTls):
            opened = connection.wrapped(opened)
        # One clock for all: a server may send a byte a second, and never end.
        clock = threading.Timer(max(0, deadline - time.monotonic()), _shut, [opened])
        clock.daemon = True
        clock.start()
        try:
            if isinstance(opened, ssl.SSLSocket):
                opened.do_handshake()
            connection.sock = opened
            own = {"Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
            connection.request("GET", place.path, headers={**own, **headers})
            with connection.getresponse() as reply:
                yield reply
        finally:
            clock.cancel()
            connection.close()
            opened.close()

    def _addresses(self, place: Place, deadline: float) -> Sequence[str]:
        """The host's addresses, all of which may be connected to. Raises NotFetched."""
        looking = self._names.submit(
            socket.getaddrinfo, place.host, place.port, type=socket.SOCK_STREAM
        )
        try:
            found = looking.result(max(0, deadline - time.monotonic()))
        except TooLate:
            raise TimeoutError from None
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        if not self._private and not all(is_public(one) for one in addresses):
            raise NotFetched(
                f"{_shown(place)}: leads to a private network; "
                "PROTOCOLS_PRIVATE_ADDRESSES allows it"
            )
        return addresses

    def _body(self, reply: http.client.HTTPResponse, place: Place) -> bytes:
        if reply.status != http.client.OK:
            raise NotFetched(f"{_shown(place)}: the server there answers {reply.status}")
        if (reply.length or 0) > self._max_bytes:
            raise self._too_large(place)
        chunks, length = [], 0
        while chunk := reply.read(CHUNK_BYTES):
            length += len(chunk)
            if length > self._max_bytes:
                raise self._too_large(place)
            chunks.append(chunk)
        if reply.length:
            raise http.client.IncompleteRead(b"", reply.length)
        return b"".join(chunks)

    def _from_s3(self, place: Place) -> bytes:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError:
            raise UnavailableError("s3:// needs boto3: pip install 'maskrcnn-server[s3]'") from None
        half = self._timeout_s / 2
        once = Config(connect_timeout=half, read_timeout=half, retries={"total_max_attempts": 1})
        try:
            client = boto3.client("s3", config=once)
            found = client.get_object(Bucket=place.host, Key=place.path[1:])
            body: bytes = found["Body"].read(self._max_bytes + 1)
        except (BotoCoreError, ClientError) as error:
            raise NotFetched(
                f"{_shown(place)}: cannot be fetched ({type(error).__name__})"
            ) from None
        if len(body) > self._max_bytes:
            raise self._too_large(place)
        return body

    def _too_large(self, place: Place) -> PayloadTooLarge:
        limit = self._max_bytes / 2**20
        return PayloadTooLarge(f"{_shown(place)}: the image is larger than {limit:g} MiB")


class _PinnedTls(http.client.HTTPSConnection):
    """A connection whose socket is open already; its certificate is checked for its name."""

    def wrapped(self, opened: socket.socket) -> ssl.SSLSocket:
        """The socket, before its handshake."""
        context: ssl.SSLContext = self._context  # type: ignore[attr-defined]
        return context.wrap_socket(opened, server_hostname=self.host, do_handshake_on_connect=False)


def _connected(addresses: Sequence[str], port: int, deadline: float) -> socket.socket:
    error: OSError = TimeoutError()
    for address in addresses:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            return socket.create_connection((address, port), left)
        except OSError as failed:
            error = failed
    raise error


def _shut(opened: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(opened, socket.SHUT_RDWR)


def _shown(place: Place) -> str:
    """The address without its query, which may be a signature."""
    return f"{place.scheme}://{place.host}/{place.path.lstrip('/').partition('?')[0]}"[:200]
