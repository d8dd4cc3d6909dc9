"""Between many requests and one model: who may wait, how long, and what is computed together."""

import itertools
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from maskrcnn_server.backend import (
    Batches,
    Image,
    Model,
    ModelLost,
    ModelMetadata,
    PredictOptions,
    Restarts,
)
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import (
    BackendFailed,
    CallerGone,
    DeadlineExceeded,
    MaskRCNNError,
    ModelFailed,
    NotReady,
    QueueFull,
)
from maskrcnn_server.hosting.caller import Caller
from maskrcnn_server.hosting.turns import Turns
from maskrcnn_server.rle import Size
from maskrcnn_server.stopwatch import stage

SMOOTHING = 0.2
"""Weight of the latest call in the average of what an image takes."""

Answer: TypeAlias = "list[Detections] | Exception"


class _Question:
    """Images that a request asks about."""

    def __init__(
        self, images: Sequence[Image], options: PredictOptions, caller: Caller, shape: Size | None
    ) -> None:
        self.images = images
        self.options = options
        self.caller = caller
        self.shape = shape
        """Of the one image in the network; None if it is computed by itself."""
        self.taken = False
        """Whether a call has begun that will answer it."""
        self.again = False
        """Whether a call has begun before, and was lost with what the model ran in."""
        self.answer: Answer | None = None

    def goes_with(self, other: "_Question") -> bool:
        """Whether both may be computed in one call."""
        return self.shape is not None and (self.shape, self.options) == (other.shape, other.options)

    def result(self) -> list[Detections]:
        """The answer, which is there."""
        if isinstance(self.answer, list):
            return self.answer
        raise self.answer or BackendFailed("the server failed on this request")


class Scheduler:
    """Runs a model for requests from many threads: one call at a time, first come first served.

    Images of requests that wait are computed in one call where that changes no answer: their
    options are equal, and so is what the model makes of their sizes (see `Batches`). Schedulers
    with the same `turns` take turns. While a model `Restarts`, requests wait; those whose call was
    lost with it are computed once more, each by itself.
    """

    def __init__(
        self,
        model: Model,
        *,
        max_waiting: int,
        max_batch: int = 1,
        turns: Turns | None = None,
        limit_s: float = math.inf,
    ) -> None:
        """`max_waiting` requests may wait while one call runs, of `max_batch` images at most. A
        call that takes longer than `limit_s` hangs."""
        self._model = model
        self._restarts = model if isinstance(model, Restarts) else None
        self.limit_s = limit_s
        self._batches = model if isinstance(model, Batches) and model.batch_pixels else None
        self._max_batch = max_batch if self._batches else 1
        self._max_waiting = max_waiting
        self._turns = turns or Turns()
        self._changed = self._turns.changed
        self._admitted: list[Caller] = []
        self._questions: deque[_Question] = deque()
        """What no call has begun for, first come first."""
        self._running = 0
        self._since = 0.0
        self._refusing = False
        self.calls: Counter[int] = Counter()
        """How often the model was called with each number of images."""
        self._seconds = 0.0
        """What an image takes, averaged, the latest most."""
        if self._restarts is not None:
            self._restarts.tell(self._wake)

    @property
    def metadata(self) -> ModelMetadata:
        """What the model says of itself."""
        return self._model.metadata

    @property
    def at_once(self) -> int:
        """Images that it pays for one client to bring at a time."""
        return self._max_batch

    @property
    def waiting(self) -> int:
        """Requests that are admitted and not answered, the running ones aside."""
        return max(0, len(self._admitted) - self._running)

    @property
    def running(self) -> int:
        """Requests that the model computes now."""
        return self._running

    @property
    def hangs(self) -> bool:
        """Whether the call that runs takes too long."""
        return self._running > 0 and time.monotonic() - self._since > self.limit_s

    @property
    def restarts(self) -> int:
        """How often what the model runs in was lost."""
        return 0 if self._restarts is None else self._restarts.restarts

    def is_up(self) -> bool:
        """Whether the model can answer now. Raises ModelFailed if nobody should wait for that."""
        if self.hangs:
            raise ModelFailed(f"the model has computed one call for more than {self.limit_s:g} s")
        return self._restarts is None or self._restarts.is_up()

    @property
    def asked(self) -> int:
        """Requests whose images are there, and that no call has begun for."""
        return len(self._questions)

    @contextmanager
    def admission(self, caller: Caller) -> Iterator[None]:
        """The time in which a request is worked on: its image in memory, its turn at the model.

        Waits until it is among the first: those of one call, and one more. Raises QueueFull at once
        if too many wait already, and what `predict` raises of waiting.
        """
        with self._changed:
            if len(self._admitted) >= self._max_waiting + self._max_batch:
                raise QueueFull(
                    f"{self._max_waiting} requests are waiting already; "
                    f"try again in {self._retry_after()} s",
                    max_waiting=self._max_waiting,
                    retry_after_s=self._retry_after(),
                )
            self._admitted.append(caller)
        caller.wake_by(self._wake)
        try:
            self._wait(lambda: caller in self._admitted[: self._max_batch + 1], caller)
            yield
        finally:
            with self._changed:
                self._admitted.remove(caller)
                self._changed.notify_all()

    def predict(
        self, images: Sequence[Image], options: PredictOptions, caller: Caller
    ) -> list[Detections]:
        """Detections of each image, when it is this request's turn.

        If it has not begun by then, raises DeadlineExceeded at the caller's deadline, CallerGone
        when the caller left, NotReady when `refuse_waiting` was called. Raises BackendFailed when
        the model raised anything but an error of ours, or gave anything but an answer for each
        image. What is wrong with one request's images concerns no other request.
        """
        question = _Question(images, options, caller, self._shape(images))
        with self._changed:
            self._questions.append(question)
            self._line_up()
        while question.answer is None:
            with self._changed:
                try:
                    self._wait(lambda: self._is_next(question), caller, question)
                    batch = [] if question.taken else self._take(question)
                except BaseException:
                    self._forget([question])
                    raise
            if batch:
                self._run(batch)
        return question.result()

    def refuse_waiting(self) -> None:
        """Start no more requests; those that run go on."""
        with self._changed:
            self._refusing = True
            self._changed.notify_all()

    def close(self, timeout_s: float | None = None) -> bool:
        """Start no more requests, and close the model after the call that runs.

        False if that took longer than `timeout_s`; the model then stays as it is.
        """
        self.refuse_waiting()
        with self._changed:
            if not self._changed.wait_for(lambda: not self._running, timeout_s):
                return False
            self._model.close()
            return True

    def _wait(
        self, ready: Callable[[], bool], caller: Caller, question: _Question | None = None
    ) -> None:
        """Wait until it is `ready`, or `question` is answered."""
        with self._changed:
            while True:
                if question is not None and question.taken:
                    if question.answer is not None:
                        return
                    self._changed.wait()
                    continue
                left = caller.deadline - time.monotonic()
                if self._refusing:
                    raise NotReady("the server is shutting down; the request did not run")
                if caller.is_gone:
                    raise CallerGone("the client has gone; the request did not run")
                if left <= 0:
                    raise DeadlineExceeded(
                        f"the model was busy for {caller.timeout_s:g} s; the request did not run",
                        timeout_s=caller.timeout_s,
                    )
                # Raises if it is down for long.
                if self.is_up() and ready():
                    return
                turn_s = self._turns.left_s()
                self._changed.wait(min(left, turn_s) if turn_s > 0 else left)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _shape(self, images: Sequence[Image]) -> Size | None:
        if self._batches is None or len(images) != 1:
            return None
        height, width, _ = images[0].shape
        return self._batches.network_shape((height, width))

    def _is_next(self, question: _Question) -> bool:
        return self._questions[0] is question and self._turns.may_run(self)

    def _line_up(self) -> None:
        """Want a turn, if there is something to do in it."""
        if self._questions:
            self._turns.wants(self)

    def _take(self, first: _Question) -> list[_Question]:
        """Begin a call for the first question, and what waits and may be computed with it."""
        batch = [first]
        if self._batches is not None and first.shape is not None:
            height, width = first.shape
            limit = min(self._max_batch, self._batches.batch_pixels // (height * width))
            alike = (q for q in self._questions if q is not first and q.goes_with(first))
            batch += itertools.islice(alike, max(0, limit - 1))
        for question in batch:
            question.taken = True
        self._running, self._since = len(batch), time.monotonic()
        self._turns.begin(self)
        self._forget(batch)
        return batch

    def _forget(self, questions: Sequence[_Question]) -> None:
        """Take questions out of the queue, after which others are next."""
        for question in questions:
            self._questions.remove(question)
        self._turns.leave(self)
        self._line_up()
        self._changed.notify_all()

    def _run(self, batch: Sequence[_Question]) -> None:
        begin = time.monotonic()
        answers: Sequence[Answer] = [BackendFailed("the server failed on this request")] * len(
            batch
        )
        try:
            answers = self._ask(batch)
        finally:
            seconds = (time.monotonic() - begin) / len(batch)
            with self._changed:
                self._seconds += SMOOTHING * (seconds - self._seconds) if self._seconds else seconds
                for question, answer in zip(reversed(batch), reversed(answers), strict=True):
                    if isinstance(answer, ModelLost) and not question.again:
                        question.again, question.taken, question.shape = True, False, None
                        self._questions.appendleft(question)
                    else:
                        question.answer = answer
                self._running = 0
                self._turns.end(self)
                self._line_up()
                self._changed.notify_all()

    def _ask(self, batch: Sequence[_Question]) -> list[Answer]:
        """An answer for each, of one call; if that fails, of one for each, to know whose fault it
        is."""
        images = [image for question in batch for image in question.images]
        try:
            found = iter(self._call(images, batch[0].options))
        except Exception as error:
            if len(batch) == 1 or isinstance(error, ModelLost):
                return [error] * len(batch)
            return [answer for question in batch for answer in self._ask([question])]
        return [[next(found) for _ in question.images] for question in batch]

    def _call(self, images: Sequence[Image], options: PredictOptions) -> list[Detections]:
        self.calls[len(images)] += 1
        try:
            with stage("model"):
                found = self._model.predict(images, options)
            answered = [detections.size for detections in found]
        except MaskRCNNError:
            raise
        # SystemExit would end the server.
        except (Exception, SystemExit) as error:
            raise BackendFailed("the backend failed on this request") from error
        asked = [image.shape[:2] for image in images]
        if len(answered) != len(asked):
            raise BackendFailed(f"the backend gave {len(answered)} answers for {len(asked)} images")
        if answered != asked:
            raise BackendFailed(f"the backend gave sizes {answered} for images of {asked}")
        return found

    def _retry_after(self) -> int:
        """Seconds until about half of those that wait are answered."""
        return max(1, math.ceil(self._seconds * len(self._admitted) / 2))
