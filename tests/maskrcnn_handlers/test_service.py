import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from maskrcnn_handlers.answer.reply import Reply
from maskrcnn_handlers.request.envelope import Envelope
from maskrcnn_handlers.service import Service
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import Image, ModelMetadata, PredictOptions
from maskrcnn_server.categories import named
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import InvalidSetting, PayloadTooLarge
from maskrcnn_server.formats import Format, Prediction
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import Settings

JSON = "application/json"


class SlowModel:
    """Finds nothing, once it is told to go on; `started` is set when it runs."""

    def __init__(self) -> None:
        self.metadata = ModelMetadata(
            name="slow", backend="fake", categories=named(["a"]), score_threshold=0.5
        )
        self.started = threading.Event()
        self.go_on = threading.Event()

    def predict(self, images: Sequence[Image], _: PredictOptions, /) -> list[Detections]:
        self.started.set()
        assert self.go_on.wait(10)
        empty = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
        return [Detections((image.shape[0], image.shape[1]), *empty) for image in images]

    def close(self) -> None:
        """Nothing to free."""


class BrokenModel(SlowModel):
    def predict(self, images: Sequence[Image], _: PredictOptions, /) -> list[Detections]:
        raise RuntimeError(f"secret of the graph, {len(images)} images")


class BrokenFormat:
    name = "broken"
    media_type = "text/plain"

    def render(self, _: Prediction, /) -> bytes:
        raise RuntimeError("secret of the format")


def serving(model: SlowModel, max_waiting: int = 1, timeout_s: float = 5) -> Service:
    settings = environment.read().model_copy(update={"timeout_s": timeout_s})
    models = Models.single(Scheduler(model, max_waiting=max_waiting))
    return Service(Plugins().formats(), settings, models)


def content(reply: Reply) -> Any:
    assert reply.content_type == JSON
    return json.loads(reply.body)


def assert_refused(reply: Reply, status: int, code: str) -> None:
    body = content(reply)
    assert (reply.status, body["error"]["code"]) == (status, code)
    assert set(body) == {"error", "request_id"}
    assert set(body["error"]) == {"code", "message", "detail"}


def test_the_notebooks_request_is_answered(service: Service, question: dict[str, Any]) -> None:
    reply = service.invoke(Envelope.of(json.dumps(question).encode(), JSON))
    assert reply.status == 200
    assert content(reply) == {
        "img_id": "a.png",
        "annotations": [
            {
                "bbox": [3, 2, 6, 3],
                "category_id": 1,
                "category_name": "red",
                "score": 1.0,
                "segmentation": {"counts": [23, 6, 4, 6, 4, 6, 31], "size": [8, 10]},
            }
        ],
    }


def test_the_content_type_need_not_name_the_right_image_format(
    service: Service, png: bytes
) -> None:
    assert service.invoke(Envelope.of(png, "image/jpeg")).status == 200


@pytest.mark.parametrize(
    ("accept", "attributes"),
    [(f"{JSON}; format=coco", ""), ("", "format=coco"), ("text/html", "format=coco")],
    ids=["accept", "attribute", "both"],
)
def test_a_format_may_be_asked_for(
    service: Service, png: bytes, accept: str, attributes: str
) -> None:
    (result,) = content(service.invoke(Envelope.of(png, "image/png", accept, attributes)))
    assert result["segmentation"]["size"] == [8, 10]


def test_boxes_only(service: Service, question: dict[str, Any]) -> None:
    body = json.dumps(question | {"masks": False}).encode()
    (annotation,) = content(service.invoke(Envelope.of(body, JSON)))["annotations"]
    assert "segmentation" not in annotation


def test_only_classes_that_were_asked_for(
    scheduler: Scheduler, encode: Callable[..., bytes]
) -> None:
    """The best of them, not those of them among the best."""
    service = Service(Plugins().formats(), environment.read(), Models.single(scheduler))
    pixels = np.zeros((8, 10, 3), np.uint8)
    pixels[1:3, 1:3] = 255, 200, 180
    attributes = "classes=blue, 2;max_detections=1;score_threshold=0.1"
    answer = content(service.invoke(Envelope.of(encode(pixels), "image/png", "", attributes)))
    assert [a["category_name"] for a in answer["annotations"]] == ["green"]


@pytest.mark.parametrize(
    ("attributes", "status"),
    [
        ("rle=columns", 200),
        ("format=coco;rle=compressed", 200),
        ("format=coco;rle=rows", 400),
        ("format=yolo-seg;rle=rows", 400),
    ],
)
def test_run_lengths_are_those_that_the_format_writes(
    service: Service, png: bytes, attributes: str, status: int
) -> None:
    reply = service.invoke(Envelope.of(png, "image/png", "", attributes))
    assert reply.status == status
    if status == 400:
        assert "rle: format" in content(reply)["error"]["message"]


def test_the_operators_default_format_is_used(scheduler: Scheduler, png: bytes) -> None:
    settings = environment.read(format="coco")
    service = Service(Plugins().formats(), settings, Models.single(scheduler))
    assert isinstance(content(service.invoke(Envelope.of(png, "image/png"))), list)


def test_a_default_format_that_is_not_installed_is_refused() -> None:
    with pytest.raises(InvalidSetting, match=r"MASKRCNN_FORMAT=yolo.*sagemaker, coco"):
        Service(Plugins().formats(), environment.read(format="yolo"), Models.single())


def test_ping_is_503_until_there_is_a_model(settings: Settings, scheduler: Scheduler) -> None:
    service = Service(Plugins().formats(), settings, Models.single())
    assert_refused(service.ping(), 503, "not_ready")
    service.models.put(scheduler)
    assert service.ping().status == 200
    assert content(service.ping())["backend"] == "fake"


def test_requests_before_there_is_a_model_are_503(settings: Settings, png: bytes) -> None:
    service = Service(Plugins().formats(), settings, Models.single())
    assert_refused(service.invoke(Envelope.of(png, "image/png")), 503, "not_ready")


def test_every_refusal_has_an_id_of_its_own(service: Service) -> None:
    ids = {content(service.invoke(Envelope.of(b"", JSON)))["request_id"] for _ in range(3)}
    assert len(ids) == 3


def test_the_id_of_a_refusal_is_in_the_log(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    request_id = content(service.invoke(Envelope.of(b"", JSON)))["request_id"]
    assert request_id in caplog.text


@pytest.mark.parametrize(
    ("length", "refused"), [(2**20, False), (2**20 + 1, True)], ids=["at limit", "above"]
)
def test_the_limit_of_the_payload_is_exact(service: Service, length: int, refused: bool) -> None:
    if refused:
        with pytest.raises(PayloadTooLarge):
            service.check_length(length)
    else:
        service.check_length(length)


def test_a_fault_of_the_backend_is_told_without_its_secrets(
    png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reply = serving(BrokenModel()).invoke(Envelope.of(png, "image/png"))
    assert_refused(reply, 500, "backend_failed")
    assert b"secret" not in reply.body
    assert "secret of the graph" in caplog.text
    assert content(reply)["request_id"] in caplog.text


def test_a_fault_of_a_format_is_told_without_its_secrets(
    scheduler: Scheduler, settings: Settings, png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    formats: Mapping[str, Format] = {**Plugins().formats(), "broken": BrokenFormat()}
    service = Service(formats, settings, Models.single(scheduler))
    reply = service.invoke(Envelope.of(png, "image/png", "", "format=broken"))
    assert reply.status == 500
    assert b"secret" not in reply.body
    assert "secret of the format" in caplog.text
    assert service.invoke(Envelope.of(png, "image/png")).status == 200


def test_a_full_queue_is_429_with_retry_after(png: bytes) -> None:
    model = SlowModel()
    service = serving(model, max_waiting=0)
    running = threading.Thread(target=service.invoke, args=(Envelope.of(png, "image/png"),))
    running.start()
    assert model.started.wait(10)
    reply = service.invoke(Envelope.of(png, "image/png"))
    model.go_on.set()
    running.join()
    assert_refused(reply, 429, "queue_full")
    assert int(reply.headers["Retry-After"]) >= 1
    assert service.invoke(Envelope.of(png, "image/png")).status == 200


def test_a_request_that_waited_too_long_is_504(png: bytes) -> None:
    model = SlowModel()
    service = serving(model, timeout_s=0.05)
    running = threading.Thread(target=service.invoke, args=(Envelope.of(png, "image/png"),))
    running.start()
    assert model.started.wait(10)
    reply = service.invoke(Envelope.of(png, "image/png"))
    model.go_on.set()
    running.join()
    assert_refused(reply, 504, "deadline_exceeded")


def test_every_answer_says_where_its_time_went(service: Service, png: bytes) -> None:
    for body, stages in ((png, ["wait", "decode", "model", "paste", "encode"]), (b"", ["wait"])):
        told = service.invoke(Envelope.of(body, "image/png")).headers["Server-Timing"]
        parts = dict(part.split(";dur=") for part in told.split(", "))
        assert set(stages) <= set(parts)
        total = float(parts.pop("total"))
        assert 0 <= sum(map(float, parts.values())) <= total + 0.01


def test_an_error_may_be_an_entry_for_batch_transform(scheduler: Scheduler, png: bytes) -> None:
    settings = environment.read(error_entries=True)
    service = Service(Plugins().formats(), settings, Models.single(scheduler))
    reply = service.invoke(Envelope.of(b"no image", "image/png"))
    assert reply.status == 200
    assert json.loads(reply.body)["error"]["code"] == "invalid_image"
    scheduler.close(1)
    assert service.invoke(Envelope.of(png, "image/png")).status == 503
