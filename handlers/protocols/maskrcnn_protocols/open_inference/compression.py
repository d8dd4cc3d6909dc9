"""Compressed bodies, bounded."""

from __future__ import annotations

import gzip
import zlib

from maskrcnn_server.errors import PayloadTooLarge, RequestError, UnsupportedContentType

WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""zlib's window bits by `Content-Encoding`."""
MIN_BYTES = 1024
"""Size of the smallest body that is worth compressing."""


def decompressed(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """The body before its `Content-Encoding`; nothing more is unpacked than `max_bytes`.

    Raises UnsupportedContentType, PayloadTooLarge, and RequestError for a broken body.
    """
    kind = encoding.strip().lower()
    if kind in ("", "identity"):
        return body
    if kind not in WINDOWS:
        raise UnsupportedContentType(
            f"Content-Encoding {encoding[:40]!r}: {' and '.join(WINDOWS)} are read"
        )
    unpacker = zlib.decompressobj(WINDOWS[kind])
    try:
        found = unpacker.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise RequestError(f"body: not {kind} ({error})", field="body") from None
    if len(found) > max_bytes:
        limit = max_bytes / 2**20
        raise PayloadTooLarge(f"the unpacked body is larger than {limit:g} MiB")
    if not unpacker.eof or unpacker.unused_data:
        raise RequestError(f"body: not one whole {kind} stream", field="body")
    return found


def compressed(body: bytes, accepted: str) -> tuple[bytes, dict[str, str]]:
    """The body as an `Accept-Encoding` wants it, and its header."""
    kinds = {one.partition(";")[0].strip().lower() for one in accepted[:1024].split(",")}
    if len(body) < MIN_BYTES or "gzip" not in kinds:
        return body, {}
    return gzip.compress(body, compresslevel=1, mtime=0), {"Content-Encoding": "gzip"}
