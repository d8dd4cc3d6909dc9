"""Workers on a cluster, each with up to `IN_FLIGHT` batches, and what happens when one ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError

from maskrcnn_ray.batches import MAX_TRIES, Batch, Batches, Clock
from maskrcnn_ray.work import IN_FLIGHT, Outcome, Task, Worker, written
from maskrcnn_server.errors import BackendCrashed, MaskRCNNError, StartupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from maskrcnn_ray.work import Item

WAIT_S = 30.0
"""Time without news after which it is said what is waited for."""


@dataclass(frozen=True)
class Resources:
    """What a worker asks of its node."""

    cpus: float
    gpus: float = 0

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs" + (f" and {self.gpus:g} GPUs" if self.gpus else "")


@dataclass(eq=False)
class _Member:
    actor: Any
    is_ready: bool = False
    is_alone: bool = False
    """Whether it has a batch that it must do alone."""
    batches: int = 0
    clock: Clock = field(default_factory=Clock)


class Pool:
    """The workers that were asked for, started as soon as the cluster has room for them.

    Nothing else needs a CPU: a worker reads, computes and writes, and images and results never are
    in Ray's object store. A worker that ends is replaced, and its batches go to the others; while
    one worker is left, the work goes on.
    """

    def __init__(
        self, task: Task, workers: int, resources: Resources, say: Callable[[str], None]
    ) -> None:
        self._task, self._count, self._resources, self._say = task, workers, resources, say
        self._members: list[_Member] = []
        self._calls: dict[Any, tuple[_Member, Batch | None]] = {}
        """What each call is: of which worker, with which batch; None: it loads its model."""
        self._early_ends = 0
        """Number of workers, one after the other, that ended before they were ready."""

    def outcomes(self, items: Iterable[Item]) -> Iterator[Outcome]:
        """What becomes of all images, a batch at a time, in the order in which they are done.

        Raises MaskRCNNError if the model cannot be loaded, or a part not be written.
        """
        batches = Batches(items)
        try:
            while self._is_busy() or batches.remain():
                self._start(batches)
                self._send(batches)
                done, _ = ray.wait(list(self._calls), num_returns=1, timeout=WAIT_S)
                for call in done:
                    yield from self._done(*self._calls.pop(call), call, batches)
                if not done:
                    self._report()
        finally:
            for member in self._members:
                ray.kill(member.actor)

    def _is_busy(self) -> bool:
        return any(batch is not None for _, batch in self._calls.values())

    def _start(self, batches: Batches) -> None:
        """Start workers, if there is something left for them."""
        while len(self._members) < self._count and batches.remain():
            actor = (
                ray.remote(Worker)
                .options(
                    num_cpus=self._resources.cpus,
                    num_gpus=self._resources.gpus,
                    scheduling_strategy="SPREAD",
                    max_concurrency=IN_FLIGHT,
                    max_restarts=0,
                    max_task_retries=0,
                )
                .remote(self._task)
            )
            member = _Member(actor)
            self._members.append(member)
            self._calls[actor.open.remote()] = member, None

    def _send(self, batches: Batches) -> None:
        """Give each worker its next batches, those that have the fewest first."""
        ready = [member for member in self._members if member.is_ready and not member.is_alone]
        while batches.has_alone() and ready:
            # It gets nothing else: it is free when it has done what it has.
            member = ready.pop(0)
            if member.batches:
                break
            self._give(member, batches.next_alone())
        for depth in range(IN_FLIGHT):
            for member in ready:
                if member.batches == depth and not self._give(member, batches.next()):
                    return

    def _give(self, member: _Member, batch: Batch | None) -> bool:
        if batch is None:
            return False
        member.batches += 1
        member.is_alone = batch.is_alone
        self._calls[member.actor.predict.remote(batch.items)] = member, batch
        return True

    def _done(
        self, member: _Member, batch: Batch | None, call: Any, batches: Batches
    ) -> Iterator[Outcome]:
        try:
            outcome = ray.get(call)
        except RayTaskError as error:
            member.batches, member.is_alone = member.batches - 1, False
            if batch is None or batch.tries + 1 == MAX_TRIES:
                raise _cause(error) from error
            batches.came_back(batch)
        except RayError as error:
            self._lose(member, error)
            for item in () if batch is None else batches.came_back(batch):
                crashed = BackendCrashed(f"{MAX_TRIES} workers ended with this image")
                yield written(self._task.parts, [(item, crashed)])
        else:
            if batch is None:
                member.is_ready, self._early_ends = True, 0
                member.clock = Clock()
                return
            member.batches, member.is_alone = member.batches - 1, False
            batches.adapt(member.clock.speed(outcome.count))
            yield outcome

    def _lose(self, member: _Member, error: RayError) -> None:
        """Forget a worker that ended, or cannot be reached any more."""
        if member not in self._members:
            return
        self._members.remove(member)
        ray.kill(member.actor)
        if member.is_ready:
            self._say("a worker ended; others do its images")
            return
        self._early_ends += 1
        self._say("a worker ended before it was ready; another takes its place")
        if self._early_ends > max(MAX_TRIES, self._count):
            raise StartupError(f"{self._early_ends} workers ended before they were ready: {error}")

    def _report(self) -> None:
        """Say what is waited for, if workers are not there."""
        missing = sum(not member.is_ready for member in self._members)
        if missing:
            free = ray.available_resources()
            self._say(
                f"{missing} of {self._count} workers wait for a node: each asks for "
                f"{self._resources}; {free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs "
                "are free in the cluster"
            )


def _cause(error: RayTaskError) -> MaskRCNNError:
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, MaskRCNNError) else StartupError(f"a worker failed: {error}")
