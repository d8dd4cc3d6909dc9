"""Timing of the stages of one request in this process: no HTTP, no other request."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maskrcnn_handlers.request import images, requests
from maskrcnn_handlers.service import Service
from maskrcnn_server import stopwatch
from maskrcnn_server.backend import Profiles
from maskrcnn_server.errors import RequestError
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.hosting.startup import open_model
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import Settings
from maskrcnn_study.benchmark.client import Question
from maskrcnn_study.benchmark.samples import Summary, summary

WARM_UP = 2
STAGES = ("wait", "decode", "preprocess", "network", "model", "paste", "encode")
ALL = "all"
OURS = "all but network"


@dataclass(frozen=True)
class Stages:
    """Times of the stages of a request."""

    ready_s: float
    """Seconds from the start of loading to the end of the first inference."""
    bytes_in: int
    bytes_out: int
    """Bytes of the last reply."""
    times: Mapping[str, Summary]
    """Times by stage, in order; `all`, and `all but network`."""
    parts: Mapping[str, Summary]
    """Times of the parts of the network, from models that report them."""


def time_stages(
    plugins: Plugins,
    settings: Settings,
    questions: Sequence[Question],
    runs: int,
) -> Stages:
    """Load a model, and run `runs` requests in turn after some warm-up.

    Raises RequestError if a request fails, and StartupError as loading does.
    """
    start = time.monotonic()
    loaded = open_model(plugins, settings)
    ready = time.monotonic() - start
    service = Service(plugins.formats(), settings)
    service.start(Scheduler(loaded, max_waiting=0))
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.WARNING)
    samples: dict[str, list[float]] = {name: [] for name in STAGES}
    parts: dict[str, list[float]] = {}
    sizes = (0, 0)
    try:
        for run in range(-WARM_UP, runs):
            question = questions[run % len(questions)]
            begin = time.perf_counter()
            with stopwatch.listen() as watch:
                reply = service.invoke(
                    question.body, question.content_type, "", question.attributes
                )
            total = time.perf_counter() - begin
            if reply.status != 200:
                raise RequestError(json.loads(reply.body)["error"]["message"])
            sizes = (len(question.body), len(reply.body))
            ours = total - watch.seconds.get("network", 0.0)
            if run >= 0:
                for name, seconds in {**watch.seconds, ALL: total, OURS: ours}.items():
                    samples.setdefault(name, []).append(seconds)
        if isinstance(loaded, Profiles):
            for run in range(-WARM_UP, runs):
                spent = _profiled(loaded, questions[run % len(questions)], settings)
                for name, seconds in spent.items() if run >= 0 else ():
                    parts.setdefault(name, []).append(seconds)
    finally:
        logging.getLogger().setLevel(level)
        loaded.close()
    last = {name: samples.pop(name, []) for name in (ALL, OURS)}
    times = {name: summary(seconds) for name, seconds in (samples | last).items() if seconds}
    return Stages(ready, *sizes, times, {name: summary(part) for name, part in parts.items()})


def _profiled(model: Profiles, question: Question, settings: Settings) -> Mapping[str, float]:
    request = requests.parse(
        question.body, question.content_type, question.attributes, settings.model
    )
    (encoded,) = (image for image in request.images if isinstance(image, requests.Encoded))
    return model.profile(images.decode(encoded.data, settings.max_image_pixels), request.options)
