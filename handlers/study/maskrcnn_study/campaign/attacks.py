"""Attacks on a server that goes on all the while: hostile inputs, with good requests among them."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from maskrcnn_study.benchmark.process import Watched
from maskrcnn_study.campaign.checked import Known, check, known
from maskrcnn_study.campaign.connections import CONNECTIONS, attack
from maskrcnn_study.campaign.exchange import Place, exchange
from maskrcnn_study.campaign.pinging import Pings
from maskrcnn_study.campaign.requests import HOSTILE
from maskrcnn_study.campaign.tally import Tally

KINDS = (*HOSTILE, *CONNECTIONS)
"""Kinds of attacks on a server."""
CHECKED = "checked answers"
CHECKERS = 3
"""Number of clients with good requests, during each attack."""
SENDERS = 6
"""Number of clients with hostile requests."""
CONNECTORS = 24
"""Number of hostile connections at a time."""
WARM_UP_SHARE = 0.1
"""Share of the time in which all kinds run before anything is measured."""


@dataclass(frozen=True)
class Watch:
    """How a server is watched."""

    process: Watched
    pings: Pings


async def attacks(
    place: Place, watch: Watch, kinds: Sequence[str], seconds: float, seed: int
) -> list[Tally]:
    """Each kind for its share of the time, one after the other; then the checked answers, which
    go on all the time."""
    cases = await known(place)
    for warm_up in (True, False):
        whole = seconds * (WARM_UP_SHARE if warm_up else 1 - WARM_UP_SHARE)
        checked = Tally(CHECKED, is_whole=True)
        tallies = []
        async with measured(checked, watch, whole), checking(place, cases, seed, checked):
            for kind in kinds or [CHECKED]:
                share = whole / max(1, len(kinds))
                if kind == CHECKED:
                    await asyncio.sleep(share)
                    continue
                tally = Tally(kind)
                async with measured(tally, watch, share):
                    await _kind(place, kind, share, seed, tally)
                tallies.append(tally)
    return [*tallies, checked]


async def _kind(place: Place, kind: str, seconds: float, seed: int, tally: Tally) -> None:
    end = time.monotonic() + seconds

    async def send(number: int) -> None:
        chance = random.Random(f"{seed} {kind} {number}")  # noqa: S311 (not for secrets)
        while time.monotonic() < end:
            if kind in HOSTILE:
                request = HOSTILE[kind](chance)
                try:
                    tally.add(await exchange(place, request), request)
                except ConnectionRefusedError:
                    tally.add(None, request)
                continue
            tally.add_outcome(await attack(place, kind, chance), kind)

    await asyncio.gather(*map(send, range(SENDERS if kind in HOSTILE else CONNECTORS)))


@asynccontextmanager
async def checking(
    place: Place, cases: Sequence[Known], seed: int, tally: Tally
) -> AsyncIterator[None]:
    """Good requests meanwhile."""
    end = asyncio.Event()
    chances = [random.Random(f"{seed} {i}") for i in range(CHECKERS)]  # noqa: S311 (no secrets)
    clients = [asyncio.ensure_future(check(place, cases, one, tally, end)) for one in chances]
    try:
        yield
    finally:
        end.set()
        await asyncio.gather(*clients)


@asynccontextmanager
async def measured(tally: Tally, watch: Watch, seconds: float) -> AsyncIterator[None]:
    """Measure memory and pings meanwhile, into the tally."""
    started = time.time()
    sizes = [watch.process.rss_mb()]

    async def halfway() -> None:
        await asyncio.sleep(seconds / 2)
        sizes.append(watch.process.rss_mb())

    task = asyncio.ensure_future(halfway())
    yield
    task.cancel()
    tally.memory_mb = [*sizes, watch.process.rss_mb()]
    tally.ping_ms, tally.own_ping_ms = watch.pings.longest(started)
    tally.idle_ping_ms, _ = watch.pings.longest(started, server=1)
