"""Times of the stages of one call: stages mark themselves, whoever wants to know listens."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple


class Lap(NamedTuple):
    """One passage through a stage; times in seconds of `time.perf_counter`."""

    stage: str
    start: float
    end: float
    own: float
    """Seconds, without those of stages inside."""


class Stopwatch:
    """Times stages. A nested stage counts for itself alone."""

    def __init__(self) -> None:
        self.laps: list[Lap] = []
        """Laps in the order in which they ended."""
        self.inner = [0.0]
        """Seconds of nested stages, for each running stage, outermost first."""

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by stage."""
        seconds: dict[str, float] = {}
        for lap in self.laps:
            seconds[lap.stage] = seconds.get(lap.stage, 0.0) + lap.own
        return seconds

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Time a stage."""
        return _Stage(self, name)

    def hear(self, other: "Stopwatch") -> None:
        """Add the laps of another stopwatch."""
        self.laps += other.laps
        self.inner[-1] += sum(lap.own for lap in other.laps)


@dataclass
class _Stage:
    stopwatch: Stopwatch
    name: str
    start: float = 0.0

    def __enter__(self) -> None:
        self.stopwatch.inner.append(0.0)
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        end, inner = time.perf_counter(), self.stopwatch.inner
        own = end - self.start - inner.pop()
        inner[-1] += end - self.start
        self.stopwatch.laps.append(Lap(self.name, self.start, end, own))


_listening: ContextVar[Stopwatch | None] = ContextVar("_listening", default=None)


@contextmanager
def listen() -> Iterator[Stopwatch]:
    """Record the stages of the calls inside, in this thread. An outer stopwatch gets them at the
    end."""
    stopwatch, before = Stopwatch(), _listening.get()
    token = _listening.set(stopwatch)
    try:
        yield stopwatch
    finally:
        _listening.reset(token)
        if before is not None:
            before.hear(stopwatch)


def stage(name: str) -> AbstractContextManager[None]:
    """Mark a stage: wait, decode, preprocess, network, model (what is neither of the two, of a call
    of it), paste, encode. Costs nothing if nobody listens."""
    stopwatch = _listening.get()
    return nullcontext() if stopwatch is None else _Stage(stopwatch, name)
