"""Streamed replies, over real sockets, with the protocol that the server has."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import PIL.Image
import pytest
import uvicorn

from maskrcnn_handlers.http.asgi import App
from maskrcnn_handlers.http.connections import Bounded, limits
from maskrcnn_handlers.http.host import Host
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.service import Service
from maskrcnn_server import settings as environment
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.plugins import Plugins
from maskrcnn_streaming.accepting import EVENTS, NDJSON
from maskrcnn_streaming.routes import StreamedRoutes
from maskrcnn_streaming.work import MAX_UNSENT
from maskrcnn_tiles.answering import TileRequests

if TYPE_CHECKING:
    from maskrcnn_server.backend import Image, PredictOptions
    from maskrcnn_server.detections import Detections
    from maskrcnn_server.hosting.scheduler import Scheduler

SPOTS = [(40, 30), (40, 200), (150, 110), (260, 40), (250, 230)]
"""Rows and columns of red squares of 12 pixels."""
Listen = Callable[..., str]


class Large:
    """A format that writes a megabyte."""

    name, media_type = "large", "application/json"

    def render(self, _: object, /) -> bytes:
        return b'"%s"' % (b"a" * 1_000_000)


class Gate:
    """The model of a scheduler, which may be held."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._predict = scheduler._model.predict
        self.calls = 0
        self.open = threading.Semaphore(0)
        """Place for each call that may go on."""

    def predict(self, images: list[Image], options: PredictOptions) -> list[Detections]:
        self.calls += 1
        assert self.open.acquire(timeout=30)
        return self._predict(images, options)

    @contextmanager
    def one_by_one(self) -> Iterator[None]:
        """Let calls go on, one after the other: the first tile may be computed after others."""
        ended = threading.Event()

        def open_often() -> None:
            while not ended.wait(0.1):
                self.open.release()

        thread = threading.Thread(target=open_often)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@pytest.fixture
def gate(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(scheduler)
    monkeypatch.setattr(scheduler._model, "predict", gate.predict)
    yield gate
    gate.open.release(10_000)


@pytest.fixture
def listen(scheduler: Scheduler) -> Iterator[Listen]:
    """Starts a server with these settings in a thread."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def started(**given: Any) -> str:
        settings = environment.read(**given)
        formats = {**Plugins().formats(), Large.name: Large()}
        service = Service(formats, settings, Models.single(scheduler))
        host = Host(service, formats, Plugins(), settings)
        routes = [*TileRequests().routes(host), *StreamedRoutes().routes(host)]
        app = App(service, ModelManagement(service.models), 8, routes)
        bounded: Any = partial(Bounded, limits=limits(settings))
        config = uvicorn.Config(app.asgi, "127.0.0.1", 0, log_config=None, ws="none", http=bounded)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        return "http://{}:{}".format(*server.servers[0].sockets[0].getsockname())

    yield started
    for server, thread in running:
        server.should_exit = True
        thread.join()


def encoded() -> str:
    pixels = np.zeros((300, 280, 3), np.uint8)
    for y, x in SPOTS:
        pixels[y : y + 12, x : x + 12, 0] = 255
    file = BytesIO()
    PIL.Image.fromarray(pixels).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def several(count: int, **options: Any) -> dict[str, Any]:
    images = [{"img_id": f"{number}.png", "img_data": encoded()} for number in range(count)]
    return {"instances": images, **options}


def posted(url: str, content: object, accept: str = NDJSON) -> list[dict[str, Any]]:
    """The entries of a streamed reply."""
    reply = httpx.post(f"{url}/invocations", json=content, headers={"accept": accept})
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == NDJSON
    assert "x-request-id" in reply.headers
    return [json.loads(line) for line in reply.text.splitlines()]


def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it never came")


def test_each_image_is_an_entry_with_what_it_would_get_alone(listen: Listen) -> None:
    url, content = listen(), several(3)
    content["instances"].insert(1, {"img_id": "x", "img_data": "bm8="})
    expected = httpx.post(f"{url}/invocations", json=content).json()["predictions"]
    *found, end = posted(url, content)
    assert sorted(entry["index"] for entry in found) == [0, 1, 2, 3]
    for entry in found:
        given = expected[entry["index"]]
        assert entry.get("prediction", {"error": entry.get("error")}) == given
        assert entry.get("size") == (None if "error" in given else [300, 280])
        assert entry.get("status") == (422 if "error" in given else None)
    assert (end["end"], end["images"], end["failed"]) == (True, 4, 1)


def test_events_have_a_kind_and_one_line_of_data(listen: Listen) -> None:
    reply = httpx.post(
        f"{listen()}/invocations", json=several(2), headers={"accept": f"{EVENTS}; format=coco"}
    )
    assert reply.headers["content-type"] == EVENTS
    *events, rest = reply.text.split("\n\n")
    assert rest == ""
    kinds = []
    for event in events:
        kind, data = event.split("\n")
        kinds.append(kind)
        assert isinstance(json.loads(data.removeprefix("data: ")), dict)
    assert kinds == ["event: prediction", "event: prediction", "event: end"]


@pytest.mark.parametrize(
    "accept",
    ["*/*", "application/json", f"application/json, {EVENTS}", f"{NDJSON};q=0.1, */*", ""],
)
def test_clients_that_do_not_ask_see_no_change(listen: Listen, accept: str) -> None:
    content = several(1)
    reply = httpx.post(f"{listen()}/invocations", json=content, headers={"accept": accept})
    assert reply.headers["content-type"] == "application/json"
    assert len(reply.json()["predictions"]) == 1


def test_an_image_comes_while_the_next_is_computed(listen: Listen, gate: Gate) -> None:
    request: dict[str, Any] = {"json": several(3), "headers": {"accept": NDJSON}}
    gate.open.release()
    with httpx.stream("POST", f"{listen()}/invocations", timeout=20, **request) as reply:
        lines = reply.iter_lines()
        for _ in range(3):
            assert "prediction" in json.loads(next(lines))
            gate.open.release()
        assert json.loads(next(lines))["end"]


def test_tiles_give_together_what_a_plain_reply_has(listen: Listen) -> None:
    url = listen()
    content = {"img_id": "a", "img_data": encoded(), "tile": "64", "overlap": 0.5}
    expected = httpx.post(f"{url}/invocations", json=content).json()["annotations"]
    *tiles, end = posted(url, content)
    assert [tile["done"] for tile in tiles] == list(range(1, tiles[0]["of"] + 1))
    assert all(tile["tile"]["width"] == 64 for tile in tiles)
    found = [one for tile in tiles for one in tile["prediction"]["annotations"]]
    assert sorted(map(str, found)) == sorted(map(str, expected))
    assert len(expected) == len(SPOTS)
    assert tiles[len(tiles) // 2]["done"] < len(tiles)
    assert end["failed"] == 0


@pytest.mark.parametrize(
    ("content", "accept", "status"),
    [
        ({"img_id": "a"}, NDJSON, 400),
        ({"img_id": "a", "img_data": "bm8="}, NDJSON, 422),
        ({"img_id": "a", "img_data": encoded(), "tile": "8"}, EVENTS, 400),
        ({"img_id": "a", "img_data": encoded(), "tile": "64", "max_detections": 2}, NDJSON, 400),
        (several(1, rle="nothing"), NDJSON, 400),
        (several(1), f"{NDJSON}; format=nothing", 406),
        (several(1, format="nothing"), EVENTS, 406),
    ],
    ids=[
        *("no image", "broken image", "bad tile", "limit", "bad option", "accepted format"),
        "format",
    ],
)
def test_a_request_that_is_wrong_gets_its_status(
    listen: Listen, content: object, accept: str, status: int
) -> None:
    url = listen()
    reply = httpx.post(f"{url}/invocations", json=content, headers={"accept": accept})
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/json"
    code = reply.json()["error"]["code"]
    counted = f'requests_total{{code="{code}",model="colours",status="{status}"}} 1.0'
    assert counted in httpx.get(f"{url}/metrics").text


def test_a_limit_of_the_operator_is_for_replies_that_know_the_best(listen: Listen) -> None:
    url = listen(max_detections=2)
    content = {"img_id": "a", "img_data": encoded(), "tile": "64", "overlap": 0.5}
    plain = httpx.post(f"{url}/invocations", json=content).json()["annotations"]
    *tiles, end = posted(url, content)
    found = [one for tile in tiles for one in tile["prediction"]["annotations"]]
    assert (len(plain), len(found), end["failed"]) == (2, len(SPOTS), 0)


@pytest.mark.parametrize(
    "content", [{"img_id": "a"}, {"img_id": "a", "img_data": "bm8="}], ids=["request", "image"]
)
def test_where_errors_are_entries_they_are_those_of_streams(
    listen: Listen, content: object
) -> None:
    url = listen(error_entries=True)
    plain = httpx.post(f"{url}/invocations", json=content)
    assert plain.status_code == 200
    (entry,) = posted(url, content)
    assert entry["error"] == plain.json()["error"]
    assert entry["status"] in (400, 422)
    code = entry["error"]["code"]
    counted = f'requests_total{{code="{code}",model="colours",status="200"}} 2.0'
    assert counted in httpx.get(f"{url}/metrics").text


def test_images_at_once_are_those_of_streamed_and_plain_replies_together(
    listen: Listen, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILES_IMAGES_AT_ONCE", "1")
    url = listen(timeout_s=1)
    content = {"img_id": "a", "img_data": encoded(), "tile": "512"}
    holder = threading.Thread(target=posted, args=(url, content))
    holder.start()
    until(lambda: gate.calls == 1)
    reply = httpx.post(f"{url}/invocations", json=content, timeout=20)
    assert "other images were in tiles" in reply.json()["error"]["message"]
    gate.open.release(10)
    holder.join()


def test_a_server_that_is_busy_says_so_by_its_status(listen: Listen, gate: Gate) -> None:
    url = listen(timeout_s=0.5)
    holder = threading.Thread(target=posted, args=(url, several(1)))
    holder.start()
    until(lambda: gate.calls == 1)
    request: dict[str, Any] = {"json": several(2), "headers": {"accept": NDJSON}}
    assert httpx.post(f"{url}/invocations", timeout=20, **request).status_code == 504
    gate.open.release()
    holder.join()


def test_a_client_that_leaves_ends_the_work(listen: Listen, gate: Gate) -> None:
    url = listen()
    content = {"img_id": "a", "img_data": encoded(), "tile": "64", "overlap": 0.5}
    request: dict[str, Any] = {"json": content, "headers": {"accept": NDJSON}}
    with (
        gate.one_by_one(),
        httpx.stream("POST", f"{url}/invocations", timeout=20, **request) as reply,
    ):
        next(reply.iter_lines())
    time.sleep(0.3)
    gate.open.release(10_000)
    time.sleep(0.5)
    assert gate.calls < 30  # of 64 tiles
    threads = [one for one in threading.enumerate() if one.name.startswith("streamed")]
    until(lambda: not any(one.is_alive() for one in threads))


def test_a_server_that_ends_says_so_in_the_stream(
    listen: Listen, gate: Gate, scheduler: Scheduler
) -> None:
    content = {"img_id": "a", "img_data": encoded(), "tile": "64", "overlap": 0.5}
    request: dict[str, Any] = {"json": content, "headers": {"accept": NDJSON}}
    with (
        gate.one_by_one(),
        httpx.stream("POST", f"{listen()}/invocations", timeout=20, **request) as reply,
    ):
        lines = reply.iter_lines()
        assert "tile" in json.loads(next(lines))
        scheduler.refuse_waiting()
        gate.open.release(10_000)
        *_, error, end = map(json.loads, lines)
    assert error["error"]["code"] == "not_ready"
    assert (end["end"], end["failed"]) == (True, 1)


def test_the_body_of_a_client_that_left_counts_while_the_work_on_it_goes_on(
    listen: Listen, gate: Gate
) -> None:
    url = listen(max_payload_mb=1, max_bodies_mb=1)
    file = BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (450, 450, 3), np.uint8)
    PIL.Image.fromarray(noise).save(file, "png")
    sent: dict[str, Any] = {
        "content": file.getvalue(),
        "headers": {"accept": NDJSON, "content-type": "image/png"},
    }
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{url}/invocations", timeout=0.5, **sent)
    until(lambda: gate.calls == 1)
    assert httpx.post(f"{url}/invocations", timeout=20, **sent).status_code == 503
    gate.open.release(100)
    until(lambda: httpx.post(f"{url}/invocations", timeout=20, **sent).status_code == 200)


def test_a_format_that_fails_is_an_error_in_json(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("maskrcnn_handlers.service.resolved", fail)
    headers = {"accept": NDJSON}
    reply = httpx.post(f"{listen()}/invocations", json=several(1), headers=headers)
    assert reply.status_code == 500
    assert reply.json()["error"]["code"]
    assert "secret" not in reply.text


def test_bodies_on_their_way_take_no_place(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskrcnn_streaming.reply.MAX_STREAMED", 1)
    url = httpx.URL(listen())
    head = f"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nAccept: {NDJSON}\r\n\r\n"
    with socket.create_connection((url.host, url.port)) as slow:
        slow.sendall(head.encode() + b"{")
        time.sleep(0.2)
        *_, end = posted(str(url), several(1))
    assert end["end"]


@contextmanager
def unread(url: str) -> Iterator[socket.socket]:
    """A connection on which a reply of 500 tiles of 1 MB each was asked for."""
    place = httpx.URL(url)
    one = {"img_id": "a", "img_data": encoded(), "tile": "32", "overlap": 0.6}
    body = json.dumps({**one, "format": "large"}).encode()
    head = f"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
    head += f"Content-Type: application/json\r\nAccept: {NDJSON}\r\n\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((place.host, place.port))
        client.sendall(head.encode() + body)
        yield client


@pytest.mark.parametrize("taken", [0, 1], ids=["nothing", "one byte at a time"])
def test_a_client_that_does_not_read_holds_the_work_and_loses_its_reply(
    listen: Listen, gate: Gate, taken: int
) -> None:
    gate.open.release(10_000)
    with unread(listen(write_timeout_s=1.5)) as client:
        until(lambda: gate.calls > MAX_UNSENT)

        def has_ended() -> bool:
            if taken:
                client.recv(taken)
            return not _streaming()

        until(has_ended)
        assert gate.calls < 200


def test_a_client_that_reads_slowly_does_not_keep_others_from_their_tiles(
    listen: Listen, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads before each timeout, but makes its reply wait too long in all."""
    monkeypatch.setenv("TILES_IMAGES_AT_ONCE", "1")
    monkeypatch.setattr("maskrcnn_handlers.http.connections.MAX_WAITS", 2)
    gate.open.release(10_000)
    url = listen(write_timeout_s=1)
    ended = threading.Event()

    def read(client: socket.socket) -> None:
        """2 MB each half second."""
        client.settimeout(20)
        with suppress(ConnectionError):
            while not ended.wait(0.5):
                left = 2_000_000
                while left > 0:
                    data = client.recv(left)
                    if not data:
                        return
                    left -= len(data)

    with unread(url) as client:
        until(lambda: gate.calls > MAX_UNSENT)
        reader = threading.Thread(target=read, args=(client,))
        reader.start()
        *_, end = posted(url, several(1))
        assert end["failed"] == 0
        assert _streaming()
        content = {"img_id": "a", "img_data": encoded(), "tile": "64", "overlap": 0.5}
        reply = httpx.post(f"{url}/invocations", json=content, timeout=30)
        assert len(reply.json()["annotations"]) == len(SPOTS)
        ended.set()
        reader.join()


def _streaming() -> bool:
    return any(one.name.startswith("streamed") for one in threading.enumerate())
