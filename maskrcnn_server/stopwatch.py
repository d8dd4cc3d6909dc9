"""Where the time of one call goes: stages mark themselves, whoever wants to know listens."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import NamedTuple


class Lap(NamedTuple):
    """One passage through a stage; times in seconds of `time.perf_counter`."""

    stage: str
    start: float
    end: float
    own: float
    """Seconds, without those of stages inside."""


class Stopwatch:
    """Seconds by stage. A stage inside another counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.laps: list[Lap] = []
        """In the order in which they ended."""
        self._inner = [0.0]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        start = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            end = time.perf_counter()
            self._add(Lap(name, start, end, end - start - self._inner.pop()))
            self._inner[-1] += end - start

    def hear(self, other: "Stopwatch") -> None:
        """Count what another has timed meanwhile."""
        for lap in other.laps:
            self._add(lap)
            self._inner[-1] += lap.own

    def _add(self, lap: Lap) -> None:
        self.laps.append(lap)
        self.seconds[lap.stage] = self.seconds.get(lap.stage, 0.0) + lap.own


_listening: ContextVar[Stopwatch | None] = ContextVar("_listening", default=None)


@contextmanager
def listen() -> Iterator[Stopwatch]:
    """Time the stages of what is called inside, in this thread. Who listens already hears them when
    this ends."""
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
    return nullcontext() if stopwatch is None else stopwatch.stage(name)
