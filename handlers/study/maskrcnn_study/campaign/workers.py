"""Faults of the processes of isolated models, while clients ask them."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import PIL.Image
import psutil

from maskrcnn_study.campaign.attacks import Watch, checking, measured
from maskrcnn_study.campaign.checked import known, requests
from maskrcnn_study.campaign.exchange import Place, exchange, post
from maskrcnn_study.campaign.pictures import encoded
from maskrcnn_study.campaign.servers import Entry, Victims
from maskrcnn_study.campaign.tally import Tally, error_code
from maskrcnn_study.faulty import FAULTS

KILLED = "kills of a worker"
ILL = {"hang": "workers that hang", "eat": "workers out of memory", "die": "workers that die"}
"""Faults that requests ask for, and the names of their kinds."""
KINDS = (KILLED, *ILL.values())
CLIENTS = 4
PAUSE_S = (0.2, 1.0)
"""Shortest and longest time between a worker's return and its next end."""
EXPECTED = ("backend_crashed", "backend_timed_out", "model_failed", "deadline_exceeded")
"""Errors that say what happened to a worker. Their replies of status 500 are right."""
RETURN_TIMEOUT_S = 120


def models(victims: Victims) -> dict[str, Entry]:
    """The healthy neighbour, a model to kill, and one for each fault."""
    limits: Mapping[str, Entry] = {
        "hang": {"predict_timeout_s": 1},
        "eat": {"memory_limit_mb": 500},
        "die": {},
    }
    entry: Entry = {"isolation": "process"}
    ill = {fault: {**victims.faulty(fault), **entry, **limits[fault]} for fault in ILL}
    return {
        "neighbour": {**victims.entry(), "default": True},
        "victim": {**victims.entry(), **entry},
        **ill,
    }


async def attacks(
    place: Place, watch: Watch, kinds: Sequence[str], seconds: float, seed: int, kills: int
) -> list[Tally]:
    """Each kind, and the answers of the neighbour meanwhile."""
    cases = await known(place)
    neighbour = Tally("answers of a neighbour")
    tallies = []
    faults = {kind: fault for fault, kind in ILL.items()}
    async with checking(place, cases, seed, neighbour):
        for kind in kinds:
            tally = Tally(kind)
            share = seconds / len(kinds)
            # The processes come and go: the sum of their memory says nothing.
            async with measured(tally, watch, share):
                if kind == KILLED:
                    await _kill(place, watch, share, seed, kills, tally)
                else:
                    await _ask_for(place, faults[kind], share, tally)
            tally.memory_mb = ()
            tallies.append(tally)
    return [*tallies, neighbour]


async def _kill(
    place: Place, watch: Watch, seconds: float, seed: int, kills: int, tally: Tally
) -> None:
    """Kill the worker of the victim until the time is over, and `kills` times at least."""
    chance = random.Random(f"{seed} kills")  # noqa: S311 (not for secrets)
    start, count = time.monotonic(), 0
    asked = requests("/models/victim/invocations")
    await _back(place, asked[0])
    async with _asking(place, lambda: chance.choice(asked), tally):
        while time.monotonic() < start + seconds or count < kills:
            await asyncio.sleep(chance.uniform(*PAUSE_S))
            with contextlib.suppress(psutil.NoSuchProcess):
                _worker(watch).kill()
                count += 1
            await _back(place, asked[0])
    tally.kind = f"{count} {tally.kind}"


async def _ask_for(place: Place, fault: str, seconds: float, tally: Tally) -> None:
    height = next(height for height, name in FAULTS.items() if name == fault)
    image = encoded(_blank(height))
    ill = post(f"/models/{fault}/invocations", "image/png", image)
    good = post(f"/models/{fault}/invocations", "image/png", encoded(_blank(64)))
    async with _asking(place, lambda: ill, tally):
        await asyncio.sleep(seconds)
    await _back(place, good)


@asynccontextmanager
async def _asking(place: Place, request: Callable[[], bytes], tally: Tally) -> AsyncIterator[None]:
    """Clients that ask meanwhile."""
    ended = asyncio.Event()

    async def ask() -> None:
        while not ended.is_set():
            sent = request()
            reply = await exchange(place, sent)
            code = "" if reply is None else error_code(reply.body)
            if code in EXPECTED:
                tally.add_outcome(code, code)
                # As Retry-After says, shortened.
                await asyncio.sleep(0.2)
            else:
                tally.add(reply, sent)

    clients = [asyncio.ensure_future(ask()) for _ in range(CLIENTS)]
    yield
    ended.set()
    await asyncio.gather(*clients)


async def _back(place: Place, request: bytes) -> None:
    """Wait until the model answers. Raises TimeoutError."""
    end = time.monotonic() + RETURN_TIMEOUT_S
    while True:
        reply = await exchange(place, request)
        if reply is not None and reply.status == 200:
            return
        if time.monotonic() > end:
            raise TimeoutError(f"the model does not come back: {reply}")
        await asyncio.sleep(0.1)


def _worker(watch: Watch) -> psutil.Process:
    """The process of the victim, whose name is its last argument."""
    return next(one for one in watch.process.children() if one.cmdline()[-1:] == ["victim"])


def _blank(height: int) -> PIL.Image.Image:
    return PIL.Image.new("RGB", (64, height), (200, 0, 0))
