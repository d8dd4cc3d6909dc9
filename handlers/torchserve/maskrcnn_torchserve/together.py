"""Requests that came together, answered together: their images reach the model in one call."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TypeVar

from maskrcnn_server.backend import Image, Model, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.hosting.caller import Caller
from maskrcnn_server.hosting.scheduler import Scheduler

T = TypeVar("T")


@dataclass(frozen=True)
class _Question:
    """What one request asks of the model."""

    images: Sequence[Image]
    options: PredictOptions
    caller: Caller
    answer: "Future[list[Detections]]" = field(default_factory=Future)


class BatchScheduler(Scheduler):
    """Runs a model for requests that come in batches, and have waited before they came.

    Each request of a batch is answered in a thread of its own, as if it had come alone. Those that
    get as far as the model meet there: images with equal options go to it in one call.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model, max_waiting=0)
        self._steps: SimpleQueue[_Question | None] = SimpleQueue()
        """What the open requests do next, in any order: ask, or end (None)."""

    def together(self, requests: Sequence[Callable[[], T]]) -> list[T]:
        """What each request returns, in the order given; by one thread at a time."""
        if not requests:
            return []
        with ThreadPoolExecutor(len(requests)) as pool:
            results = [pool.submit(self._until_its_end, request) for request in requests]
            still_open = len(requests)
            while still_open:
                steps = [self._steps.get() for _ in range(still_open)]
                questions = [step for step in steps if step is not None]
                still_open = len(questions)
                self._answer(questions)
        return [result.result() for result in results]

    @contextmanager
    def admission(self, caller: Caller) -> Iterator[None]:  # noqa: ARG002 (nobody else comes)
        """No waiting: a batch is admitted as it is."""
        yield

    def predict(
        self, images: Sequence[Image], options: PredictOptions, caller: Caller
    ) -> list[Detections]:
        """Detections of each image, once every other open request has asked too, or ended.

        Raises what the model raised for these images alone.
        """
        question = _Question(images, options, caller)
        self._steps.put(question)
        return question.answer.result()

    def _until_its_end(self, request: Callable[[], T]) -> T:
        try:
            return request()
        finally:
            self._steps.put(None)

    def _answer(self, questions: Sequence[_Question]) -> None:
        alike: dict[PredictOptions, list[_Question]] = {}
        for question in questions:
            alike.setdefault(question.options, []).append(question)
        for group in alike.values():
            self._settle(group)

    def _settle(self, group: Sequence[_Question]) -> None:
        """Ask for all at once; if that fails, one by one, so that a failure has one owner."""
        images = [image for question in group for image in question.images]
        try:
            found = iter(super().predict(images, group[0].options, group[0].caller))
            answers = [[next(found) for _ in question.images] for question in group]
        except BaseException as error:
            if len(group) == 1 or not isinstance(error, Exception):
                for question in group:
                    question.answer.set_exception(error)
                return
            for question in group:
                self._settle([question])
            return
        for question, answer in zip(group, answers, strict=True):
            question.answer.set_result(answer)
