"""Closing a socket that listens without losing the connections that the kernel has accepted."""

import asyncio
import contextlib
import ctypes
import os
import select
import socket
import struct
import sys
from collections.abc import Sequence

SO_ATTACH_FILTER = 26
"""Socket option of Linux that attaches a filter of packets, which needs no privilege."""
DROP_SYN = struct.pack(
    "HBBI" * 4,
    *(0x30, 0, 0, 13),  # load the byte of flags of the TCP header
    *(0x45, 0, 1, 0x02),  # is SYN among them?
    *(0x06, 0, 0, 0),  # yes: drop the packet
    *(0x06, 0, 0, 0xFFFFFFFF),  # no: keep it
)
"""Filter that drops the first packet of new connections, in the kernel's classic BPF."""
HANDSHAKE_S = 0.1
"""Seconds for handshakes that have begun to end."""


async def refuse_new(sockets: Sequence[socket.socket]) -> None:
    """Let no new connection begin, and wait until those that began before are accepted.

    A connection that arrives between the last `accept` and `close` would be reset. On Linux, its
    first packet is dropped instead; its client sends another one after a second, and is refused.
    """
    for each in sockets:
        _drop_new(each)
    await asyncio.sleep(HANDSHAKE_S)
    while any(map(is_readable, sockets)):
        await asyncio.sleep(0)


def is_readable(opened: socket.socket) -> bool:
    """Whether bytes or connections have come that nobody has taken yet."""
    poll = select.poll()
    poll.register(opened, select.POLLIN)
    return bool(poll.poll(0))


def _drop_new(listening: socket.socket) -> None:
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(DROP_SYN)
    value = struct.pack("HL", len(DROP_SYN) // 8, ctypes.addressof(program))
    # Where the kernel has no such filters, such a connection is reset, as anywhere else.
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(listening.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, value)
