"""Jobs of a scheduler: the work on a request, and the client who waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from maskrcnn_server.errors import BackendFailed

if TYPE_CHECKING:
    from maskrcnn_server.backend import Image, PredictOptions
    from maskrcnn_server.detections import Detections
    from maskrcnn_server.rle import Size


class Caller:
    """The client of a request, as the front end knows it and the scheduler needs it."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.deadline = time.monotonic() + timeout_s
        self.is_gone = False
        self.wake: Callable[[], None] = lambda: None
        """Function that wakes the threads that wait on behalf of this caller."""

    def leave(self) -> None:
        """Note that nobody waits for the reply any more. May be called from any thread."""
        self.is_gone = True
        self.wake()


@dataclass(eq=False)
class Job:
    """The work on one request: it waits for memory, gets its images, waits for a call."""

    caller: Caller
    compute: Callable[[Job], None]
    """Function that gives a job its outcome."""
    changed: threading.Condition
    """Condition that is notified when this job may go on. Its lock is the scheduler's."""
    context: Context = field(default_factory=copy_context)
    """Context of the request's thread, with its stopwatch."""
    images: Sequence[Image] = ()
    """Images to compute. Empty: not decoded yet."""
    options: PredictOptions = field(init=False)
    shape: Size | None = None
    """Size of the image in the network, which jobs of one call have in common."""
    max_batch: int = 1
    """Number of jobs in one call with this one at most."""
    is_ready: bool = False
    """Whether the images wait for a call. Not so before they are decoded, or after one begins."""
    was_lost: bool = False
    """Whether a call had begun, and was lost with what the model ran in."""
    outcome: list[Detections] | BaseException | None = None
    """Detections of each image, or what went wrong. None: not known yet."""

    def predict(self, images: Sequence[Image], options: PredictOptions) -> list[Detections]:
        """Detections of each image, when it is this job's turn. May be called once.

        Raises DeadlineExceeded, CallerGone, NotReady or ModelFailed if no call has begun when the
        caller's deadline comes, the caller leaves, the server shuts down, or the model fails for
        long. Raises BackendFailed if the model raised an error that is none of ours, or did not
        return detections for each image. Never fails for what is wrong with other jobs.
        """
        self.images, self.options = images, options
        self.compute(self)
        if isinstance(self.outcome, list):
            return self.outcome
        raise self.outcome or BackendFailed("the server failed on this request")
