#!/usr/bin/env python
"""Simulates 64 workers of `predict --ray` that read from a slow object store.

It says how busy their engines are. The workers are those of `maskrcnn_ray`, as threads of one
process: batches, threads and parts are real. The engine sleeps instead of computing, and the store
before it answers, so one machine is enough.

    python build_tools/simulate_fleet.py --workers 64 --engine-s 0.5 --store-s 0.3
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from maskrcnn_predict.concurrency import in_order
from maskrcnn_predict.local import ModelSpec
from maskrcnn_ray.batches import Batches, Clock
from maskrcnn_ray.formats import JsonLines
from maskrcnn_ray.parts import Parts
from maskrcnn_ray.work import IN_FLIGHT, Item, Outcome, Task, written
from maskrcnn_server.options import Options

IMAGE_BYTES = 10_000


@dataclass
class SlowStore:
    """A store that takes its time, at random up to three times as long, and limits its rate."""

    delay_s: float
    rate: float
    """Number of requests a second that it answers; more wait."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    next_s: float = 0
    parts: int = 0

    def wait(self) -> None:
        with self.lock:
            now = time.monotonic()
            self.next_s = max(now, self.next_s) + 1 / self.rate
            turn_s = self.next_s - now
        time.sleep(turn_s + self.delay_s * random.uniform(0.5, 1.5))  # noqa: S311

    def read(self) -> bytes:
        self.wait()
        return bytes(IMAGE_BYTES)

    def write(self, _name: str, _content: bytes) -> None:
        self.wait()
        self.parts += 1


class FakeEngine:
    """Computes one image at a time, as a scheduler has an engine do."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self.busy_s = 0.0
        self.start = self.end = 0.0

    def predict(self, _image: bytes) -> list[Any]:
        with self._lock:
            start = time.monotonic()
            self.start = self.start or start
            time.sleep(self._seconds)
            self.end = time.monotonic()
            self.busy_s += self.end - start
        return []


def predicted(engine: FakeEngine, store: SlowStore, task: Task, items: list[Item]) -> Outcome:
    """What a worker does with a batch, but for the engine and the store."""
    pairs = in_order(lambda _: engine.predict(store.read()), items, task.concurrency)
    return written(task.parts, [(item, result) for item, result in pairs])


def run(args: argparse.Namespace) -> tuple[float, float, int]:
    """Share of the time in which engines computed, images a second, and parts written."""
    store = SlowStore(args.store_s, args.store_rate)
    parts = Parts(store, JsonLines(), {}, run=1)  # type: ignore[arg-type]
    task = Task(ModelSpec(), Options(), parts, args.concurrency)
    count = int(args.seconds * args.workers / args.engine_s)
    batches = Batches(Item(f"s3://bucket/{i}.jpg", i, "1") for i in range(count))
    engines = [FakeEngine(args.engine_s) for _ in range(args.workers)]
    clocks = [Clock() for _ in engines]
    calls: dict[Future[Outcome], int] = {}
    in_flight = [0] * len(engines)
    start = time.monotonic()
    with ThreadPoolExecutor(args.workers * IN_FLIGHT) as pool:
        while calls or batches.remain():
            for depth in range(IN_FLIGHT):
                for number, engine in enumerate(engines):
                    batch = batches.next() if in_flight[number] == depth else None
                    if batch is not None:
                        work = partial(predicted, engine, store, task, list(batch.items))
                        calls[pool.submit(work)] = number
                        in_flight[number] += 1
            for call in wait(calls, return_when=FIRST_COMPLETED).done:
                number = calls.pop(call)
                in_flight[number] -= 1
                batches.adapt(clocks[number].speed(call.result().count))
    seconds = time.monotonic() - start
    # The last batches end at different times: an engine counts from its first image to its last.
    busy = sum(engine.busy_s for engine in engines)
    wall = sum(engine.end - engine.start for engine in engines)
    return busy / wall, count / seconds, store.parts


def main() -> None:
    """Print a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--engine-s", type=float, default=0.5, help="seconds of an image")
    parser.add_argument("--store-s", type=float, default=0.3, help="mean seconds of a request")
    parser.add_argument("--store-rate", type=float, default=5500, help="requests a second at most")
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60, help="of work, about")
    args = parser.parse_args()
    busy, rate, parts = run(args)
    sys.stdout.write(
        f"{args.workers} workers, an image in {args.engine_s:g} s, a request in {args.store_s:g} s,"
        f" at most {args.store_rate:g} requests a second: engines busy {busy:.1%}, "
        f"{rate:.1f} images a second, {parts} parts\n"
    )


if __name__ == "__main__":
    main()
