"""Event streams of AWS: what streamed invocations answer.

Source: https://smithy.io/2.0/aws/amazon-eventstream.html
"""

import struct
from binascii import crc32
from collections.abc import Iterator

CONTENT_TYPE = "application/vnd.amazon.eventstream"
PART_BYTES = 128 << 10
"""Number of payload bytes in an event at most."""
STRING = 7
"""Type of a header that is a string."""
HEADERS = {
    ":event-type": "PayloadPart",
    ":content-type": "application/octet-stream",
    ":message-type": "event",
}


def events(body: bytes) -> Iterator[bytes]:
    """The body as PayloadPart events; at least one."""
    for start in range(0, max(len(body), 1), PART_BYTES):
        yield _message(body[start : start + PART_BYTES])


def _message(payload: bytes) -> bytes:
    headers = b"".join(_header(name, value) for name, value in HEADERS.items())
    # Lengths and checksums of 4 bytes: of all, of the headers, of these two, and of all again.
    prelude = struct.pack(">II", len(headers) + len(payload) + 16, len(headers))
    message = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return message + struct.pack(">I", crc32(message))


def _header(name: str, value: str) -> bytes:
    return struct.pack(f">B{len(name)}sBH", len(name), name.encode(), STRING, len(value)) + (
        value.encode()
    )
