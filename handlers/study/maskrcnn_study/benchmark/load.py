"""A server under load: so many clients that wait for their answers, or arrivals that wait for none.

In a closed loop each client asks again when it is answered: the server sets the pace. In an open
loop requests arrive at times that were fixed beforehand, whatever the server does, and latency
counts from the arrival: what a slow answer makes others wait is not left out.
"""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from maskrcnn_study.benchmark.client import Address, Connection, Question, got, posted
from maskrcnn_study.benchmark.process import Watched
from maskrcnn_study.benchmark.samples import Summary, summary

PING_EVERY_S = 0.1
MEMORY_EVERY_S = 0.2

Arrivals: TypeAlias = Literal["poisson", "fixed"]


@dataclass(frozen=True)
class Closed:
    """Closed loop: a number of clients, each with one request at a time."""

    concurrency: int


@dataclass(frozen=True)
class Open:
    """Open loop: a number of arrivals per second."""

    rate: float
    arrivals: Arrivals = "poisson"
    seed: int = 0


@dataclass(frozen=True)
class Target:
    """Server under load, and the requests."""

    address: Address
    questions: Sequence[Question]
    """Requests that are sent in turn."""
    ping: str = "/ping"
    timeout_s: float = 60
    watched: Watched | None = None
    """The server's process, if it is on this machine."""


@dataclass(frozen=True)
class Used:
    """Resources that the server used."""

    cpu_cores: float
    """CPU seconds per second."""
    cpu_ms_per_answer: float | None
    rss_mb: float
    """Resident memory at the end, in MB (10^6 bytes)."""
    peak_rss_mb: float


@dataclass(frozen=True)
class Level:
    """Result of one load."""

    loop: Literal["closed", "open"]
    concurrency: int | None
    rate: float | None
    arrivals: Arrivals | None
    seconds: float
    """Seconds from the first request to the last reply."""
    requests: int
    good: int
    """Number of replies 200 within the time limit."""
    errors: Mapping[str, int]
    """Numbers of errors by HTTP status, `timeout`, `connection`, and `late`: 200, but after the
    time limit."""
    goodput_per_s: float
    latency: Summary | None
    """Latency of all replies 200."""
    ping: Summary | None
    """Latency of `/ping` meanwhile."""
    server: Used | None
    client_cpu_cores: float
    """CPU seconds per second of the measurement itself; near 1, it is the bottleneck."""
    client_late: Summary | None
    """Open loop: delay between arrival and sending, which is part of the latency."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of one request."""

    latency_s: float
    failure: str | None
    late_s: float = 0.0


def arrival_times(load: Open, duration_s: float) -> list[float]:
    """Times of arrival in seconds from the start, at least one."""
    if load.arrivals == "fixed":
        return [i / load.rate for i in range(max(1, round(load.rate * duration_s)))]
    # Not for secrets: the same seed gives the same arrivals to every server.
    chance = random.Random(load.seed)  # noqa: S311
    gaps = iter(lambda: chance.expovariate(load.rate), None)
    times = list(itertools.takewhile(lambda at: at < duration_s, itertools.accumulate(gaps)))
    return times or [0.0]


async def measure(
    target: Target, load: Closed | Open, duration_s: float, within_s: float | None = None
) -> Level:
    """Put a server under load and measure it.

    A reply is good if it is 200 within `within_s` seconds.
    """
    requests = [posted(target.address, question) for question in target.questions]
    await _warm_up(target, requests, load.concurrency if isinstance(load, Closed) else 1)
    pings: list[float] = []
    memory: list[float] = []
    client, server = time.process_time(), target.watched.cpu_s() if target.watched else 0.0
    start = time.perf_counter()
    done = asyncio.Event()
    beside = asyncio.gather(_ping(target, pings, done), _remember(target.watched, memory, done))
    if isinstance(load, Closed):
        outcomes = await _closed(target, requests, load, start + duration_s)
    else:
        outcomes = await _open(target, requests, arrival_times(load, duration_s))
    seconds = time.perf_counter() - start
    client = time.process_time() - client
    spent = target.watched.cpu_s() - server if target.watched else 0.0
    done.set()
    await beside
    good, errors = counted(outcomes, within_s)
    return Level(
        loop="closed" if isinstance(load, Closed) else "open",
        concurrency=load.concurrency if isinstance(load, Closed) else None,
        rate=load.rate if isinstance(load, Open) else None,
        arrivals=load.arrivals if isinstance(load, Open) else None,
        seconds=seconds,
        requests=len(outcomes),
        good=good,
        errors=errors,
        goodput_per_s=good / seconds,
        latency=_summary([one.latency_s for one in outcomes if one.failure is None]),
        ping=_summary(pings),
        server=_used(target.watched, spent, memory, seconds, good),
        client_cpu_cores=client / seconds,
        client_late=_summary([one.late_s for one in outcomes]) if isinstance(load, Open) else None,
    )


def counted(outcomes: Sequence[Outcome], within_s: float | None) -> tuple[int, dict[str, int]]:
    """Number of good replies, and numbers of errors by reason."""

    def kind(one: Outcome) -> str:
        too_late = within_s is not None and one.latency_s > within_s
        return one.failure or ("late" if too_late else "")

    kinds = Counter(map(kind, outcomes))
    return kinds.pop("", 0), dict(sorted(kinds.items()))


async def _warm_up(target: Target, requests: Sequence[bytes], concurrency: int) -> None:
    connections = [Connection(target.address) for _ in range(concurrency)]
    asked = zip(connections, itertools.cycle(requests), strict=False)
    now = time.perf_counter()
    await asyncio.gather(*(_ask(target, one, request, now) for one, request in asked))
    for connection in connections:
        connection.close()


async def _closed(
    target: Target, requests: Sequence[bytes], load: Closed, end: float
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    turn = itertools.cycle(requests)

    async def client() -> None:
        connection = Connection(target.address)
        while (now := time.perf_counter()) < end:
            outcomes.append(await _ask(target, connection, next(turn), now))
        connection.close()

    await asyncio.gather(*(client() for _ in range(load.concurrency)))
    return outcomes


async def _open(target: Target, requests: Sequence[bytes], times: Sequence[float]) -> list[Outcome]:
    free: list[Connection] = []
    start = time.perf_counter()

    async def arrival(due: float, request: bytes) -> Outcome:
        connection = free.pop() if free else Connection(target.address)
        outcome = await _ask(target, connection, request, due)
        free.append(connection)
        return outcome

    tasks = []
    for at, request in zip(times, itertools.cycle(requests), strict=False):
        # A sleep of nothing lets those that have arrived go on.
        await asyncio.sleep(max(0.0, start + at - time.perf_counter()))
        tasks.append(asyncio.create_task(arrival(start + at, request)))
    outcomes = await asyncio.gather(*tasks)
    for connection in free:
        connection.close()
    return outcomes


async def _ask(target: Target, connection: Connection, request: bytes, due: float) -> Outcome:
    late = time.perf_counter() - due
    failure: str | None = None
    try:
        answer = await asyncio.wait_for(connection.ask(request), target.timeout_s)
        failure = None if answer.status == 200 else str(answer.status)
    except asyncio.TimeoutError:
        failure = "timeout"
        connection.close()
    except (OSError, ValueError):
        failure = "connection"
        # Who is refused at once would ask again thousands of times a second.
        await asyncio.sleep(0.01)
    return Outcome(time.perf_counter() - due, failure, late)


async def _ping(target: Target, seconds: list[float], done: asyncio.Event) -> None:
    """Time the health check repeatedly; a server without one gives no times."""
    request = got(target.address, target.ping)
    connection = Connection(target.address)
    while not done.is_set():
        start = time.perf_counter()
        outcome = await _ask(target, connection, request, start)
        if outcome.failure is None:
            seconds.append(outcome.latency_s)
        await asyncio.sleep(max(0.0, start + PING_EVERY_S - time.perf_counter()))
    connection.close()


async def _remember(watched: Watched | None, memory: list[float], done: asyncio.Event) -> None:
    while watched is not None and not done.is_set():
        memory.append(watched.rss_mb())
        await asyncio.sleep(MEMORY_EVERY_S)


def _used(
    watched: Watched | None, cpu_s: float, memory: Sequence[float], seconds: float, good: int
) -> Used | None:
    if watched is None:
        return None
    now = watched.rss_mb()
    return Used(
        cpu_cores=cpu_s / seconds,
        cpu_ms_per_answer=1000 * cpu_s / good if good else None,
        rss_mb=now,
        peak_rss_mb=max([*memory, now]),
    )


def _summary(seconds: Sequence[float]) -> Summary | None:
    return summary(seconds) if seconds else None
