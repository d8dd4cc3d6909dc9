"""Where the time of one call goes: stages mark themselves, whoever wants to know listens."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Stopwatch:
    """Seconds by stage. A stage inside another counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        start = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            own = elapsed - self._inner.pop()
            self._inner[-1] += elapsed
            self.seconds[name] = self.seconds.get(name, 0.0) + own


_listening: ContextVar[Stopwatch | None] = ContextVar("_listening", default=None)


@contextmanager
def listen() -> Iterator[Stopwatch]:
    """Time the stages of what is called inside, in this thread."""
    stopwatch = Stopwatch()
    token = _listening.set(stopwatch)
    try:
        yield stopwatch
    finally:
        _listening.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Mark a stage: decode, preprocess, network, paste, encode. Costs nothing if nobody listens."""
    stopwatch = _listening.get()
    if stopwatch is None:
        yield
    else:
        with stopwatch.stage(name):
            yield
