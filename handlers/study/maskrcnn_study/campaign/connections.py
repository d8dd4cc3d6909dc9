"""Connections that cost a server: slow, silent, endless, malformed, or gone."""

import asyncio
import contextlib
import random
import socket
from collections.abc import Awaitable, Callable, Mapping

from maskrcnn_study.benchmark.client import read_answer
from maskrcnn_study.campaign.exchange import FAULTS, Place, post
from maskrcnn_study.campaign.requests import SMALL
from maskrcnn_study.campaign.tally import Outcome, error_code

TIMEOUT_S = 2
"""Time limit for headers, bodies and reading that the attacked server has."""
PATIENCE_S = 20
"""Longest wait for the server to end what is over its limits."""
BURST, BURST_EVERY_S = 4096, 0.005
"""Bytes of endless headers that are sent at once, and the time between."""
GET = b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
HEAD = b"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
LINES = (
    b"\0\0\0\0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40) + b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"BREW@ / HTTP/1.1\r\n\r\n",
    b"GET /ping HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET /ping HTTP/1.1\r\nHost: a\r\nA\x00B: c\r\n\r\n",
    HEAD + b"Content-Length: -1\r\n\r\n",
    HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    HEAD
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
)
"""Requests that are not HTTP/1.1."""

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Attack = Callable[[random.Random, Reader, Writer], Awaitable[Outcome | str]]


async def attack(place: Place, kind: str, chance: random.Random) -> Outcome | str:
    """Open a connection, and do what the kind says: the outcome, or the code of an error."""
    # A small buffer, so that replies that nobody reads do not fit into it.
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(client, (place.host, place.port))
        reader, writer = await asyncio.open_connection(sock=client)
    except OSError:
        client.close()
        return Outcome.LOST
    try:
        return await asyncio.wait_for(CONNECTIONS[kind](chance, reader, writer), 2 * PATIENCE_S)
    except FAULTS:
        return Outcome.LOST
    finally:
        with contextlib.suppress(Exception):
            writer.transport.abort()


async def _malformed(chance: random.Random, reader: Reader, writer: Writer) -> Outcome | str:
    line = bytearray(chance.choice(LINES))
    if chance.random() < 0.5:
        line[chance.randrange(len(line) - 4)] = chance.randrange(256)
    writer.write(bytes(line))
    return await _refusal(reader)


async def _endless_headers(chance: random.Random, reader: Reader, writer: Writer) -> Outcome | str:
    line = b"X-A: " + b"x" * chance.choice([1, 100, 4000]) + b"\r\n"

    async def send() -> None:
        writer.write(HEAD)
        with contextlib.suppress(OSError):
            while True:
                writer.write(line * (BURST // len(line) + 1))
                await writer.drain()
                await asyncio.sleep(BURST_EVERY_S)

    return await _while_sending(send(), reader)


async def _slow_headers(_: random.Random, reader: Reader, writer: Writer) -> Outcome | str:
    return await _while_sending(_trickle(writer, HEAD, 0.1), reader)


async def _slow_body(chance: random.Random, reader: Reader, writer: Writer) -> Outcome | str:
    length = chance.choice([100, 10**5, 10**6])
    writer.write(HEAD + f"Content-Length: {length}\r\n\r\n".encode() + bytes(length // 2))
    return await _while_sending(_trickle(writer, bytes(99), 0.1), reader)


async def _silent(chance: random.Random, reader: Reader, writer: Writer) -> Outcome | str:
    writer.write(chance.choice([b"", b"", b"G", HEAD]))
    said = await asyncio.wait_for(_all(reader), PATIENCE_S)
    return _code(said) or Outcome.CLOSED


async def _unread(_: random.Random, reader: Reader, writer: Writer) -> Outcome | str:
    """Ask for much, and read nothing, until the server gives up."""
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    with contextlib.suppress(OSError):
        writer.write(ask * 400)
        await asyncio.sleep(2 * TIMEOUT_S)
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    with contextlib.suppress(OSError):
        await asyncio.wait_for(_all(reader), PATIENCE_S)
    return Outcome.CLOSED


async def _vanishing(chance: random.Random, _: Reader, writer: Writer) -> Outcome | str:
    request = post("/invocations", "image/png", SMALL)
    writer.write(request[: chance.randrange(len(request))])
    await asyncio.sleep(chance.choice([0, 0.01, 0.05]))
    return Outcome.CLOSED


async def _pipelined(chance: random.Random, reader: Reader, writer: Writer) -> Outcome | str:
    count = chance.choice([2, 5, 20])
    writer.write(GET * count)
    for _ in range(count):
        reply, _keep = await asyncio.wait_for(read_answer(reader), PATIENCE_S)
        if reply.status != 200:
            return error_code(reply.body) or Outcome.WRONG
    return Outcome.ANSWERED


async def _in_pieces(chance: random.Random, reader: Reader, writer: Writer) -> Outcome | str:
    request = GET[:-2] + b"Connection: close\r\n\r\n"
    size = chance.choice([1, 3, 10])
    for start in range(0, len(request), size):
        writer.write(request[start : start + size])
        await asyncio.sleep(0.001)
    reply, _ = await asyncio.wait_for(read_answer(reader), PATIENCE_S)
    return Outcome.ANSWERED if reply.status == 200 else error_code(reply.body) or Outcome.WRONG


async def _trickle(writer: Writer, data: bytes, pause_s: float) -> None:
    with contextlib.suppress(OSError):
        for byte in data:
            writer.write(bytes([byte]))
            await asyncio.sleep(pause_s)
        await asyncio.sleep(PATIENCE_S)


async def _while_sending(sending: Awaitable[None], reader: Reader) -> Outcome | str:
    task = asyncio.ensure_future(sending)
    try:
        return await _refusal(reader)
    finally:
        task.cancel()


async def _refusal(reader: Reader) -> Outcome | str:
    reply, _ = await asyncio.wait_for(read_answer(reader), PATIENCE_S)
    if reply.status < 300:
        return Outcome.ANSWERED
    return error_code(reply.body) or Outcome.WRONG


def _code(said: bytes) -> str:
    return error_code(said.partition(b"\r\n\r\n")[2])


async def _all(reader: Reader) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(1 << 16):
            parts.append(part)
    return b"".join(parts)


CONNECTIONS: Mapping[str, Attack] = {
    "malformed": _malformed,
    "endless headers": _endless_headers,
    "slow headers": _slow_headers,
    "slow body": _slow_body,
    "silent": _silent,
    "unread replies": _unread,
    "vanishing": _vanishing,
    "pipelined": _pipelined,
    "in pieces": _in_pieces,
}
"""Kinds of connections, and what each does."""
