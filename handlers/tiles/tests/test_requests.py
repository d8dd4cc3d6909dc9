"""Requests that want tiles, over a model that sees one object of each colour at a time."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import PIL.Image
import pytest

from maskrcnn_handlers.answer.answering import Inference
from maskrcnn_handlers.http.asgi import App
from maskrcnn_handlers.http.host import Host
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.observe import request_ids
from maskrcnn_handlers.request.options import resolved
from maskrcnn_handlers.request.requests import Encoded
from maskrcnn_handlers.service import Service
from maskrcnn_server.errors import CallerGone, InvalidSetting, NotReady
from maskrcnn_server.hosting.job import Caller
from maskrcnn_server.options import Options
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import ModelDefaults
from maskrcnn_tiles.answering import Cutter, TileRequests
from maskrcnn_tiles.settings import TileSettings, read, variable

if TYPE_CHECKING:
    from maskrcnn_server.hosting.scheduler import Scheduler

SPOTS = [(40, 30), (40, 200), (150, 110), (260, 40), (250, 230)]
"""Rows and columns of red squares of 12 pixels."""
Start = Callable[[], httpx.Client]


@pytest.fixture
def start(service: Service, connect: Callable[[App], httpx.Client]) -> Start:
    """A client of a server that cuts images, with the settings of this moment."""

    def begun() -> httpx.Client:
        started = Service(Plugins().formats(), service.settings, service.models)
        host = Host(started, Plugins().formats(), Plugins(), started.settings)
        routes = TileRequests().routes(host)
        return connect(App(started, ModelManagement(started.models), 4, routes))

    return begun


def encoded(kind: str = "png", **options: Any) -> bytes:
    """An image of 300 x 280 pixels with the spots."""
    pixels = np.zeros((300, 280, 3), np.uint8)
    for y, x in SPOTS:
        pixels[y : y + 12, x : x + 12, 0] = 255
    file = BytesIO()
    PIL.Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def corners(reply: httpx.Response) -> list[tuple[int, int]]:
    assert reply.status_code == 200, reply.text
    boxes = [one["bbox"] for one in reply.json()["annotations"]]
    assert all(box[2:] == [12, 12] for box in boxes)
    return sorted((box[1], box[0]) for box in boxes)


def test_every_kind_of_request_may_want_tiles(start: Start) -> None:
    client = start()
    content = {"img_id": "a", "img_data": base64.b64encode(encoded()).decode()}
    asked = {"tile": "80x64", "overlap": 0.5}
    attributes = {"X-Amzn-SageMaker-Custom-Attributes": "tile=80x64;overlap=0.5"}
    form = {"tile": "80x64", "overlap": "0.5"}
    raw = {"content-type": "image/png"}
    replies = [
        client.post("/invocations", json={**content, **asked}),
        client.post("/invocations", json=content, headers=attributes),
        client.post("/invocations", content=encoded(), headers={**raw, **attributes}),
        client.post("/invocations", files={"image": encoded()}, data=form),
    ]
    for reply in replies:
        assert corners(reply) == sorted(SPOTS)
        assert reply.headers["X-Amzn-SageMaker-Custom-Attributes"] == "height=300;width=280"
    assert len(client.post("/invocations", json=content).json()["annotations"]) == 1


def test_several_images_are_each_cut(start: Start) -> None:
    one = {"img_id": "a", "img_data": base64.b64encode(encoded()).decode()}
    asked = {"instances": [one, {"img_id": "b", "img_data": "bm8="}, one], "tile": "80"}
    first, broken, last = start().post("/invocations", json=asked).json()["predictions"]
    assert len(first["annotations"]) == len(last["annotations"]) == len(SPOTS)
    assert broken["error"]["code"] == "invalid_image"


def test_options_hold_for_what_tiles_show_together(start: Start) -> None:
    client = start()

    def asked(**options: Any) -> list[dict[str, Any]]:
        content = {"img_id": "a", "img_data": base64.b64encode(encoded()).decode()}
        reply = client.post("/invocations", json={**content, "tile": "64", **options})
        assert reply.status_code == 200, reply.text
        found: list[dict[str, Any]] = reply.json()["annotations"]
        return found

    assert len(asked(max_detections=2)) == 2
    assert asked(classes=["green"]) == []
    assert len(asked(classes=["red", "blue"])) == len(SPOTS)
    assert all("segmentation" not in one for one in asked(masks=False))
    assert len(asked(overview=True, overlap=0)) >= len(SPOTS)


@pytest.mark.parametrize(
    ("options", "status", "named"),
    [
        ({"tile": "8"}, 400, "tile"),
        ({"tile": "x"}, 400, "tile"),
        ({"tile": "64", "overlap": 0.9}, 400, "overlap"),
        ({"tile": "64", "rpn": True}, 400, "rpn"),
        ({"tile": "32", "overlap": 0.8}, 400, "tiles"),
    ],
)
def test_what_cannot_be_is_refused(
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    status: int,
    named: str,
) -> None:
    monkeypatch.setenv("TILES_MAX_TILES", "100")
    content = {"img_id": "a", "img_data": base64.b64encode(encoded()).decode()}
    reply = start().post("/invocations", json={**content, **options})
    assert reply.status_code == status
    assert named in reply.json()["error"]["message"]


def test_a_server_without_the_plugin_says_so(client: httpx.Client) -> None:
    content = {"img_id": "a", "img_data": base64.b64encode(encoded()).decode(), "tile": "64"}
    reply = client.post("/invocations", json=content)
    assert reply.status_code == 400
    assert "maskrcnn-tiles" in reply.json()["error"]["message"]


def test_a_large_tiff_is_read_in_parts_where_the_operator_allows_it(
    start: Start, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.settings = service.settings.model_copy(update={"max_image_pixels": 50_000})
    sent: dict[str, Any] = {
        "content": encoded("tiff"),
        "headers": {
            "content-type": "image/tiff",
            "X-Amzn-SageMaker-Custom-Attributes": "tile=64;overlap=0.5",
        },
    }
    assert start().post("/invocations", **sent).status_code == 422
    monkeypatch.setenv("TILES_MAX_IMAGE_PIXELS", "84000")
    assert corners(start().post("/invocations", **sent)) == sorted(SPOTS)
    monkeypatch.setenv("TILES_MAX_IMAGE_PIXELS", "83999")
    assert start().post("/invocations", **sent).status_code == 422


def test_a_server_without_what_reads_in_parts_says_so_when_it_starts(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskrcnn_tiles.answering.find_spec", lambda _: None)
    start()
    monkeypatch.setenv("TILES_MAX_IMAGE_PIXELS", "84000")
    with pytest.raises(InvalidSetting, match=r"TILES_MAX_IMAGE_PIXELS: .*rasterio"):
        start()


def test_the_work_on_tiles_counts_and_is_logged_with_the_request(
    start: Start,
    service: Service,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (scheduler,) = service.models.schedulers().values()
    predict, ids = scheduler._model.predict, set[str]()

    def told(*asked: Any) -> Any:
        ids.add(request_ids.current())
        return predict(*asked)

    monkeypatch.setattr(scheduler._model, "predict", told)
    content = {"img_id": "a", "img_data": base64.b64encode(encoded()).decode(), "tile": "64"}
    with caplog.at_level("INFO"):
        reply = start().post("/invocations", json=content)
    assert "model;dur=" in reply.headers["server-timing"]
    assert ids == {reply.headers["x-request-id"]}
    (exchange,) = (record.exchange for record in caplog.records if hasattr(record, "exchange"))
    assert [lap.stage for lap in exchange.laps].count("model") == 1
    assert sum(scheduler.calls.values()) > 1


def test_tiles_wait_while_the_queue_is_full(start: Start, service: Service) -> None:
    """A tile is no request: that others fill the queue delays it."""
    (scheduler,) = service.models.schedulers().values()
    scheduler._max_waiting = 0
    client = start()
    content = {"img_id": "a", "img_data": base64.b64encode(encoded()).decode(), "tile": "64"}
    assert len(client.post("/invocations", json=content).json()["annotations"]) == len(SPOTS)


def test_tiles_that_take_too_long_end(start: Start, service: Service) -> None:
    service.settings = service.settings.model_copy(update={"timeout_s": 0.001})
    content = {"img_id": "a", "img_data": base64.b64encode(encoded()).decode(), "tile": "64"}
    reply = start().post("/invocations", json=content)
    assert reply.status_code == 504


@pytest.mark.parametrize("reason", ["the client has gone", "the server ends"])
def test_an_image_that_waits_for_its_place_ends_when_nobody_wants_it(
    scheduler: Scheduler, reason: str
) -> None:
    cutter = Cutter(TileSettings(), threading.BoundedSemaphore(1))
    options = resolved(Options(tile="64"), ModelDefaults(), scheduler.metadata)
    inference = Inference(scheduler, options, Plugins().formats()["coco"], 10**6, cutter.predict)
    caller = Caller(60)
    ends = {"the client has gone": caller.leave, "the server ends": scheduler.refuse_waiting}
    with cutter.places:
        threading.Timer(0.1, ends[reason]).start()
        start = time.monotonic()
        with pytest.raises((CallerGone, NotReady)):
            cutter.predict(inference, Encoded("a", encoded()), caller)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("name", TileSettings.model_fields)
def test_a_setting_has_its_row(name: str) -> None:
    page = (Path(__file__).parents[1] / "README.md").read_text()
    field = TileSettings.model_fields[name]
    shown = "" if field.default is None else f"`{field.default}`"
    assert f"| `{variable(name)}` | {shown} | {field.description} |" in page


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("TILES_MAX_TILE", "3", "TILES_MAX_TILES"), ("TILES_MAX_TILES", "0", "greater than 0")],
)
def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSetting, match=said):
        read()
