"""What a scheduler schedules."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from maskrcnn_server.backend import Image, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import BackendFailed
from maskrcnn_server.hosting.caller import Caller
from maskrcnn_server.rle import Size


@dataclass(eq=False)
class Job:
    """The work on one request: a place in the queue, then images, then their detections."""

    caller: Caller
    changed: threading.Condition
    """Condition that is notified when this job may go on. Its lock is the scheduler's."""
    compute: Callable[["Job"], None]
    """Function that gives a job its outcome."""
    images: Sequence[Image] = ()
    """Images to compute. Empty: they are being decoded, or not even that yet."""
    options: PredictOptions = field(init=False)
    """Options of the request, which come with the images."""
    shape: Size | None = None
    """Size of the image in the network. None: no other job may be computed with this one."""
    ready_since: float | None = None
    """Time (`time.monotonic`) since which the images wait for a call. None: they are not there yet,
    or a call has begun."""
    was_lost: bool = False
    """Whether a call had begun, and was lost with what the model ran in."""
    outcome: list[Detections] | Exception | None = None
    """Detections of each image, or what went wrong. None: not known yet."""

    def predict(self, images: Sequence[Image], options: PredictOptions) -> list[Detections]:
        """Detections of each image, when it is this job's turn. May be called once.

        Raises DeadlineExceeded, CallerGone or NotReady if no call has begun when the caller's
        deadline comes, the caller leaves, or `Scheduler.refuse_waiting` is called. Raises
        BackendFailed if the model raised an error that is none of ours, or did not return
        detections for each image. Errors that other jobs cause are not raised here.
        """
        self.images, self.options = images, options
        self.compute(self)
        if isinstance(self.outcome, list):
            return self.outcome
        raise self.outcome or BackendFailed("the server failed on this request")

    def get_ready(self, shape: Size | None) -> None:
        """Wait for a call from now on."""
        self.shape, self.ready_since = shape, time.monotonic()
