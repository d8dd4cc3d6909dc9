"""Timing of the stages of a call: stages mark themselves, a stopwatch records them."""

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
    """Seconds without those of nested stages."""


class Stopwatch:
    """Seconds by stage. A nested stage counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.laps: list[Lap] = []
        """Laps in the order in which they ended."""
        self._inner = [0.0]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        start = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            end = time.perf_counter()
            self._add(Lap(name, start, end, end - start - self._inner.pop()))
            self._inner[-1] += end - start

    def hear(self, other: "Stopwatch") -> None:
        """Add the laps of another stopwatch."""
        for lap in other.laps:
            self._add(lap)
            self._inner[-1] += lap.own

    def _add(self, lap: Lap) -> None:
        self.laps.append(lap)
        self.seconds[lap.stage] = self.seconds.get(lap.stage, 0.0) + lap.own


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
    """Mark a stage: wait, decode, model (with preprocess and network inside it), paste, encode.
    Free of charge if no stopwatch records."""
    stopwatch = _listening.get()
    return nullcontext() if stopwatch is None else stopwatch.stage(name)
