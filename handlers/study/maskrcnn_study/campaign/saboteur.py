"""A server with a fault of its own, to see whether a campaign notices.

Run as a program with a fault and the command of a server, it starts the server and passes bytes
between it and the clients, but for the fault.
"""

import asyncio
import contextlib
import re
import signal
import subprocess
import sys
import threading
import time

from maskrcnn_predict.child import LISTENS

FAULTS = ("lose", "fail", "wrong", "block", "leak", "chatter")
"""`lose` replies, answer with status 500 (`fail`), answer `wrong`, `block` the event loop, `leak`
memory, and write a log that blocks (`chatter`)."""
EVERY = 4
"""One connection of so many is hurt."""
BLOCK_S, BLOCK_EVERY_S = 1.2, 2.0
LEAK_BYTES, LEAK_EVERY_S = 1 << 22, 0.1
FAILURE = b'{"error":{"code":"internal_error","message":"on purpose","detail":{}},"request_id":""}'
FOUND = re.compile(rb'"annotations":\[.+\]', re.DOTALL)


class Saboteur:
    """Passes the bytes of connections, and hurts some of them."""

    def __init__(self, fault: str, port: int) -> None:
        self._fault = fault
        self._port = port
        self._count = 0
        self._leaked: list[bytes] = []

    async def run(self) -> None:
        """Listen until the program ends."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        print(f"running on http://127.0.0.1:{port} with a fault", flush=True)  # noqa: T201
        while True:
            await asyncio.sleep(BLOCK_EVERY_S if self._fault == "block" else LEAK_EVERY_S)
            if self._fault == "block":
                time.sleep(BLOCK_S)
            if self._fault == "leak":
                self._leaked.append(b"x" * LEAK_BYTES)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._fault == "chatter":
            print("x" * 2000, flush=True)  # noqa: T201
        try:
            ours, theirs = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.transport.abort()
            return
        upward = asyncio.ensure_future(_pass(reader, theirs))
        try:
            await self._answer(ours, writer)
        finally:
            upward.cancel()
            for each in (writer, theirs):
                with contextlib.suppress(Exception):
                    each.close()

    async def _answer(self, ours: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await ours.read(1 << 20):
                hurt = data.startswith(b"HTTP/1.1 ") and b'"ready"' not in data and self._next()
                if hurt and self._fault == "lose":
                    writer.transport.abort()
                    return
                if hurt and self._fault == "fail":
                    head = f"HTTP/1.1 500 Internal\r\nContent-Length: {len(FAILURE)}\r\n\r\n"
                    writer.write(head.encode() + FAILURE)
                    return
                if hurt and self._fault == "wrong":
                    data = FOUND.sub(_nothing, data)
                writer.write(data)
                await writer.drain()

    def _next(self) -> bool:
        self._count += 1
        return self._count % EVERY == 0


def _nothing(found: re.Match[bytes]) -> bytes:
    return b'"annotations":[' + b" " * (len(found[0]) - 16) + b"]"


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def main(fault: str, command: list[str]) -> None:
    """Start the command, and stand in front of it."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if process.stdout is None:
        raise ValueError("no output")
    listens = None
    while listens is None:
        line = process.stdout.readline().decode()
        if not line:
            raise SystemExit("the server ended")
        listens = LISTENS.search(line)
    threading.Thread(target=process.stdout.read, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        asyncio.run(Saboteur(fault, int(listens[1])).run())
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
