"""Addresses that images may be fetched from."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from maskrcnn_server.errors import InvalidSetting, RequestError, redacted

PORTS = {"http": 80, "https": 443, "s3": None}
"""Schemes, and their ports."""
MAX_URL = 4096
"""Number of characters of an address at most."""
HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|[0-9a-f:.]+")
NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""Addresses of version 6 that lead to one of version 4, in their last 32 bits."""


@dataclass(frozen=True)
class Place:
    """An address that was checked."""

    scheme: str
    host: str
    port: int | None
    path: str
    """Path, from its /, and query; of S3 a / and the key."""

    @property
    def origin(self) -> tuple[str, str, int | None]:
        """What a token may be sent to."""
        return self.scheme, self.host, self.port


class Allowed:
    """Addresses that begin with one of `prefixes`, such as `https://images.example/street/`.

    Raises InvalidSetting for a prefix that is not an address.
    """

    def __init__(self, prefixes: Sequence[str]) -> None:
        try:
            self._prefixes = [_place(prefix) for prefix in prefixes]
        except RequestError as error:
            raise InvalidSetting(f"PROTOCOLS_IMAGE_ADDRESSES: {error.message}") from None

    def __bool__(self) -> bool:
        return bool(self._prefixes)

    def check(self, url: str) -> Place:
        """The place that an address names. Raises RequestError unless it is allowed."""
        place = _place(url)
        for prefix in self._prefixes:
            folder = prefix.path if prefix.path.endswith("/") else f"{prefix.path}/"
            if place.origin == prefix.origin and f"{place.path}/".startswith(folder):
                return place
        raise RequestError(
            f"{redacted(url[:200])}: the server fetches no images from there; "
            "PROTOCOLS_IMAGE_ADDRESSES allows it",
            field="img_url",
        )


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's, not of this machine or a private network."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if ip.teredo is not None:
            return False
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def _place(url: str) -> Place:
    """The parts of an address. Raises RequestError for one that programs read differently."""
    shown = redacted(url[:200])
    if len(url) > MAX_URL or not url.isascii() or re.search(r"[\x00-\x20\x7f\\]", url):
        raise RequestError(f"{shown!r}: not an address", field="img_url")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise RequestError(f"{shown!r}: not an address", field="img_url") from None
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in PORTS or not HOST.fullmatch(host) or "@" in parts.netloc:
        raise RequestError(
            f"{shown!r}: an address begins with https:// or s3:// and has no user name",
            field="img_url",
        )
    if any(part in (".", "..") for part in unquote(parts.path).split("/")):
        raise RequestError(f"{shown!r}: the path has dots", field="img_url")
    return Place(parts.scheme, host, port or PORTS[parts.scheme], _path(parts))


def _path(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
