"""Several images in one request: each is answered as if it had come alone."""

import base64
import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrcnn_handlers.answer.reply import Reply
from maskrcnn_handlers.request.envelope import Envelope
from maskrcnn_handlers.service import Service
from maskrcnn_plugin_kit.testing import FakeBackend
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import Image, ModelConfig, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.hosting.job import Caller
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.rle import Size

JSON = "application/json"
SIZES = [(8, 10), (8, 10), (20, 30), (8, 10), (9, 9), (8, 10)]


class Batching:
    """The fake model, which computes images of one size together; some sizes break it."""

    def __init__(self, folder: Path) -> None:
        self._model = FakeBackend().load(ModelConfig(model_dir=folder))
        self.metadata = self._model.metadata
        self.batch_pixels = 10_000
        self.calls: list[list[Size]] = []

    def network_shape(self, size: Size, /) -> Size:
        return size

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        self.calls.append([(image.shape[0], image.shape[1]) for image in images])
        if any(size == (9, 9) for size in self.calls[-1]):
            raise RuntimeError("secret of the graph")
        return self._model.predict(images, options)

    def close(self) -> None:
        self._model.close()


@pytest.fixture
def model(tmp_path: Path) -> Batching:
    return Batching(tmp_path)


@pytest.fixture
def batches(model: Batching) -> Scheduler:
    return Scheduler(model, max_waiting=0, max_batch=4)


@pytest.fixture
def batching(batches: Scheduler) -> Service:
    return Service(Plugins().formats(), environment.read(), Models.single(batches))


@pytest.fixture
def instances(encode: Callable[..., bytes]) -> list[dict[str, str]]:
    """Pictures with a box of their number of pixels, red."""
    made = []
    for i, size in enumerate(SIZES, start=1):
        pixels = np.zeros((*size, 3), np.uint8)
        pixels[0, :i, 0] = 255
        data = base64.b64encode(encode(pixels)).decode()
        made.append({"img_id": f"{i}.png", "img_data": data})
    return made


def ask(service: Service, instances: Any, accept: str = "", **fields: Any) -> Reply:
    body = json.dumps({"instances": instances, **fields}).encode()
    return service.invoke(Envelope.of(body, JSON, accept))


def predictions(reply: Reply) -> list[Any]:
    assert (reply.status, reply.content_type) == (200, JSON), reply.body
    content = json.loads(reply.body)
    assert list(content) == ["predictions"]
    answers: list[Any] = content["predictions"]
    return answers


def test_answers_are_in_order_and_the_same_as_alone(
    service: Service, instances: list[dict[str, str]]
) -> None:
    answers = predictions(ask(service, instances))
    assert [answer["img_id"] for answer in answers] == [i["img_id"] for i in instances]
    for instance, answer in zip(instances, answers, strict=True):
        alone = service.invoke(Envelope.of(json.dumps(instance).encode(), JSON))
        assert json.loads(alone.body) == answer


def test_a_bad_image_is_its_own_problem(
    batching: Service,
    instances: list[dict[str, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = [{"img_id": "a"}, None, {"img_id": "b", "img_data": base64.b64encode(b"no").decode()}]
    answers = predictions(ask(batching, [*bad, *instances]))
    codes = [answer["error"]["code"] if "error" in answer else "" for answer in answers]
    assert codes == [
        *["invalid_request", "invalid_request", "invalid_image"],
        *["", "", "", "", "backend_failed", ""],
    ]
    assert "secret" not in json.dumps(answers)
    assert "secret of the graph" in caplog.text
    assert set(answers[0]["error"]) == {"code", "message", "detail"}


def test_images_of_one_shape_are_computed_together(
    batching: Service, batches: Scheduler, model: Batching, instances: list[dict[str, str]]
) -> None:
    """While the first is computed the next ones gather."""
    alike = [instances[0]] * 9
    go_on, inner = threading.Event(), model.predict

    def first_waits(images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        if not model.calls:
            assert go_on.wait(10)
        return inner(images, options)

    model.predict = first_waits  # type: ignore[method-assign]
    replies: list[Reply] = []
    asking = threading.Thread(target=lambda: replies.append(ask(batching, alike)))
    asking.start()
    while batches.ready < 3:
        assert asking.is_alive()
        time.sleep(0.001)
    go_on.set()
    asking.join()
    assert len(predictions(replies[0])) == 9
    assert len(model.calls[0]) == 1
    assert len(model.calls[1]) >= 3


@pytest.mark.parametrize("name", ["coco", "polygons", "geojson", "labelme", "cvat"])
def test_formats_in_json_answer_several(
    service: Service, instances: list[dict[str, str]], name: str
) -> None:
    assert len(predictions(ask(service, instances, format=name))) == len(instances)


@pytest.mark.parametrize(
    ("accept", "fields"),
    [("image/png", {}), ("", {"format": "yolo-seg"}), ("", {"format": "overlay-jpeg"})],
)
def test_formats_that_are_no_json_refuse_several(
    service: Service, instances: list[dict[str, str]], accept: str, fields: dict[str, str]
) -> None:
    reply = ask(service, instances, accept, **fields)
    assert reply.status == 406
    assert "answers one image" in json.loads(reply.body)["error"]["message"]


def test_options_hold_for_every_image(service: Service, instances: list[dict[str, str]]) -> None:
    for answer in predictions(ask(service, instances, masks=False)):
        assert "segmentation" not in answer["annotations"][0]
    for answer in predictions(ask(service, instances, classes=["blue"])):
        assert answer["annotations"] == []


def test_a_server_that_can_look_at_none_says_so_by_its_status(
    batching: Service, instances: list[dict[str, str]]
) -> None:
    batching.refuse_waiting()
    reply = ask(batching, instances)
    assert reply.status == 503
    assert json.loads(reply.body)["error"]["code"] == "not_ready"


def test_a_client_that_leaves_leaves_all_its_images(
    batching: Service, model: Batching, instances: list[dict[str, str]]
) -> None:
    caller = Caller(10)
    caller.leave()
    body = json.dumps({"instances": instances}).encode()
    assert batching.invoke(Envelope.of(body, JSON), caller).status == 499
    assert model.calls == []


def test_one_turn_at_a_time_is_enough(model: Batching, instances: list[dict[str, str]]) -> None:
    """Neither a request nor its images wait for each other without end."""
    models = Models.single(Scheduler(model, max_waiting=8, max_batch=1))
    service = Service(Plugins().formats(), environment.read(), models)
    replies: list[Reply] = []
    asking = [
        threading.Thread(target=lambda: replies.append(ask(service, instances[:4])))
        for _ in range(4)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(20)
    assert [len(predictions(reply)) for reply in replies] == [4] * 4
