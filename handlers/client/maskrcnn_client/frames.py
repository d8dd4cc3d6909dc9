"""Several requests at a time, whose replies come in the order of what was asked."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

MAX_AT_ONCE = 64
"""Number of frames at a time at most."""

F = TypeVar("F")
R = TypeVar("R")


def in_order(frames: Iterable[F], ask: Callable[[F], R], at_once: int) -> Iterator[R]:
    """What `ask` returns for each frame, in order; `at_once` threads call it.

    A frame is taken when there is a thread for it: results that nobody takes hold up the rest.
    Raises what taking or asking raises, and ValueError for `at_once` out of its limits.
    """
    _check(at_once)
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(at_once, "frames")
    try:
        for frame in frames:
            waiting.append(pool.submit(ask, frame))
            if len(waiting) == at_once:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


async def in_order_async(
    frames: Iterable[F] | AsyncIterable[F], ask: Callable[[F], Awaitable[R]], at_once: int
) -> AsyncIterator[R]:
    """The same for a coroutine. Iterables that block are read in other threads."""
    _check(at_once)
    waiting: deque[asyncio.Future[R]] = deque()
    try:
        async for frame in _each(frames):
            waiting.append(asyncio.ensure_future(ask(frame)))
            if len(waiting) == at_once:
                yield await waiting.popleft()
        while waiting:
            yield await waiting.popleft()
    finally:
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _each(frames: Iterable[F] | AsyncIterable[F]) -> AsyncIterator[F]:
    if isinstance(frames, AsyncIterable):
        async for frame in frames:
            yield frame
        return
    reading, end = iter(frames), object()
    while (one := await asyncio.to_thread(next, reading, end)) is not end:
        yield one  # type: ignore[misc]  # It is not the end.


def _check(at_once: int) -> None:
    if not 1 <= at_once <= MAX_AT_ONCE:
        raise ValueError(f"at_once: 1 to {MAX_AT_ONCE}, not {at_once}")
