import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest

from maskrcnn_handlers.http.asgi import App
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.request.envelope import Envelope
from maskrcnn_handlers.service import Service
from maskrcnn_plugin_kit.testing.fake import FakeModel
from maskrcnn_server.backend import Image, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import Settings

JSON = {"Content-Type": "application/json"}
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


def scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    """What an ASGI server says of a request; it may be laxer about headers than uvicorn."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/invocations",
        "raw_path": b"/invocations",
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": list(headers),
        "server": ("test", 80),
        "client": ("test", 1),
    }


def called(service: Service, scope: dict[str, Any], *events: dict[str, Any]) -> list[Any]:
    """What the application sends when it receives these events."""
    waiting, sent = list(events), []

    async def receive() -> Any:
        return waiting.pop(0) if waiting else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async def call() -> None:
        await App(service, ModelManagement(service.models), threads=1).asgi(scope, receive, send)

    asyncio.run(call())
    return sent


def test_ping_is_200_when_the_model_is_ready(client: httpx.Client) -> None:
    reply = client.get("/ping")
    assert reply.status_code == 200
    assert reply.json() == {"status": "ready", "model": "colours", "backend": "fake"}


def test_ping_is_503_before(settings: Settings) -> None:
    starting = Service(Plugins().formats(), settings, Models.single())
    sent = called(starting, scope() | {"method": "GET", "path": "/ping"})
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["error"]["code"] == "not_ready"


def test_ping_ignores_the_content_type(client: httpx.Client) -> None:
    """The old containers answered 415 to some; health checks send what they like."""
    assert client.get("/ping", headers={"Content-Type": "text/plain"}).status_code == 200


@pytest.mark.parametrize("path", ["/invocations", "/endpoints/mask-rcnn/invocations"])
def test_both_paths_answer(client: httpx.Client, question: dict[str, Any], path: str) -> None:
    reply = client.post(path, json=question)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["annotations"][0]["category_name"] == "red"


def test_options_travel_as_accept(client: httpx.Client, question: dict[str, Any]) -> None:
    headers = {"Accept": "application/json; format=coco"}
    assert isinstance(client.post("/invocations", json=question, headers=headers).json(), list)


def test_a_declared_length_above_the_limit_is_refused_unread(service: Service) -> None:
    large = scope((b"content-type", b"application/json"), (b"content-length", b"1048577"))
    sent = called(service, large)
    assert sent[0]["status"] == 413


def test_a_chunked_body_is_not_read_further_than_the_limit(client: httpx.Client) -> None:
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield bytes(2**18)

    reply = client.post("/invocations", content=chunks(), headers=JSON)
    assert reply.status_code == 413
    assert reply.json()["error"]["detail"] == {"max_payload_mb": 1.0}
    assert taken <= 6


@pytest.mark.parametrize(("length", "status"), [(2**20, 422), (2**20 + 1, 413)])
def test_the_limit_of_the_body_is_exact(client: httpx.Client, length: int, status: int) -> None:
    headers = {"Content-Type": "image/png"}
    reply = client.post("/invocations", content=bytes(length), headers=headers)
    assert reply.status_code == status


@pytest.mark.parametrize("length", [b"\xb2", b"9" * 5000, b"-1", b"ten", b""])
def test_a_strange_content_length_is_no_fault_of_ours(service: Service, length: bytes) -> None:
    strange = scope((b"content-type", b"application/json"), (b"content-length", length))
    sent = called(service, strange, {"type": "http.request", "body": b"{}", "more_body": False})
    assert 400 <= sent[0]["status"] < 500


def test_a_client_that_hangs_up_is_no_fault_of_ours(service: Service) -> None:
    """No exception reaches the ASGI server, which would log its traceback as an error."""
    called(
        service,
        scope((b"content-type", b"application/json")),
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    )


def test_who_has_gone_is_not_computed_for(settings: Settings, png: bytes) -> None:
    started, go_on, calls = threading.Event(), threading.Event(), []

    class Busy(FakeModel):
        def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
            calls.append(len(images))
            started.set()
            assert go_on.wait(10)
            return super().predict(images, options)

    models = Models.single(Scheduler(Busy(0.5), max_waiting=4))
    service = Service(Plugins().formats(), settings, models)
    first = threading.Thread(target=service.invoke, args=(Envelope.of(png, "image/png"),))
    first.start()
    assert started.wait(10)
    called(
        service,
        scope((b"content-type", b"image/png")),
        {"type": "http.request", "body": png, "more_body": False},
        {"type": "http.disconnect"},
    )
    go_on.set()
    first.join()
    assert calls == [1]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/invocations", 405),
        ("POST", "/ping", 405),
        ("GET", "/", 404),
        ("POST", "/invocations/a", 404),
        ("POST", "/endpoints/a/b/invocations", 404),
    ],
)
def test_other_routes_are_refused_in_json(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    reply = client.request(method, path)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/json"
    assert set(reply.json()) == {"error", "request_id"}


def test_a_405_says_what_is_allowed(client: httpx.Client) -> None:
    assert client.get("/invocations").headers["allow"] == "POST"
