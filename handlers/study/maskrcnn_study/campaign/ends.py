"""Servers that end under load, that may open few files, and whose log nobody reads."""

import asyncio
import contextlib
import os
import random
import signal
import time

from maskrcnn_predict.child import Child, running
from maskrcnn_study.benchmark.process import Watched
from maskrcnn_study.campaign.attacks import Watch, checking, measured
from maskrcnn_study.campaign.checked import known, requests
from maskrcnn_study.campaign.exchange import Place, exchange
from maskrcnn_study.campaign.pinging import pinging
from maskrcnn_study.campaign.servers import Victims, place
from maskrcnn_study.campaign.tally import Tally

ENDS = "terminations"
FEW_FILES = "64 open files"
UNREAD_LOG = "a log that nobody reads"
KINDS = (ENDS, FEW_FILES, UNREAD_LOG)
CLIENTS = 12
"""Number of clients of a server that ends."""
LOAD_S = (0.5, 1.5)
"""Shortest and longest time under load before SIGTERM."""
FILES = 64
HELD = 200
"""Number of connections that are held against a server that may open few files."""


def terminations(victims: Victims, seconds: float, seed: int, at_least: int) -> Tally:
    """SIGTERM to servers under load, until the time is over, and `at_least` so many."""
    tally = Tally(ENDS)
    chance = random.Random(f"{seed} ends")  # noqa: S311 (not for secrets)
    models = {"model": {**victims.entry(), "default": True}}
    command = victims.command(models, "ends")
    start, count = time.monotonic(), 0
    while time.monotonic() < start + seconds or count < at_least:
        with running(command, env=victims.environment()) as child:
            asyncio.run(_until_end(child, chance.uniform(*LOAD_S), tally))
        count += 1
    tally.kind = f"{count} {ENDS}"
    return tally


async def _until_end(child: Child, load_s: float, tally: Tally) -> None:
    """Ask until the server ends, and send SIGTERM after a while."""
    clients = asyncio.ensure_future(until_refused(place(child), tally))
    await asyncio.sleep(load_s)
    os.kill(child.pid, signal.SIGTERM)
    await clients


async def until_refused(where: Place, tally: Tally) -> None:
    """Ask, with many clients and a new connection for each request, until the server refuses
    connections."""
    asked = requests()

    async def ask(number: int) -> None:
        turn = number
        with contextlib.suppress(ConnectionRefusedError):
            while True:
                request = asked[turn % len(asked)]
                turn += 1
                tally.add(await exchange(where, request), request)

    await asyncio.gather(*map(ask, range(CLIENTS)))


async def few_files(child: Child, idle: Child, seconds: float, seed: int) -> Tally:
    """Hold more connections than there are files, and have good requests and pings answered."""
    tally = Tally(FEW_FILES, is_whole=True)
    where = place(child)
    cases = await known(where)
    held = []
    with pinging([child, idle]) as pings:
        async with measured(tally, Watch(Watched(child.pid), pings), seconds):
            for _ in range(HELD):
                with contextlib.suppress(OSError):
                    held.append(await asyncio.open_connection(where.host, where.port))
            async with checking(where, cases, seed, tally):
                await asyncio.sleep(seconds)
    for _, writer in held:
        writer.transport.abort()
    return tally


async def unread_log(child: Child, idle: Child, seconds: float, seed: int) -> Tally:
    """Ask a server that logs each request into a pipe that is full."""
    tally = Tally(UNREAD_LOG, is_whole=True)
    where = place(child)
    cases = await known(where)
    with pinging([child, idle]) as pings:
        watch = Watch(Watched(child.pid), pings)
        async with measured(tally, watch, seconds), checking(where, cases, seed, tally):
            await _fill(where, seconds)
    return tally


async def _fill(where: Place, seconds: float) -> None:
    """Send what is refused fast, and logged."""
    end = time.monotonic() + seconds
    name = "x" * 200
    refused = f"POST /models/{name}/invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"

    async def send() -> None:
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                await exchange(where, refused.encode())

    await asyncio.gather(*(send() for _ in range(4)))
