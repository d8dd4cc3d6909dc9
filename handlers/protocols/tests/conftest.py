"""Fixtures of a server that speaks every protocol, and of what the notebook's contract says."""

import base64
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import httpx
import numpy as np
import pytest
import uvicorn
from numpy.typing import NDArray
from server_fixtures import *  # noqa: F403

from maskrcnn_handlers.http.access import Access
from maskrcnn_handlers.http.asgi import App
from maskrcnn_handlers.http.host import Host
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.service import Service
from maskrcnn_protocols.plugin import register_routes
from maskrcnn_server.plugins import Plugins


@dataclass
class Served:
    url: str
    host: Host
    log: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Host and port."""
        return self.url.removeprefix("http://")

    def grpc(self) -> str:
        """Host and port of the gRPC transport."""
        (line,) = (one for one in self.log if "gRPC" in one)
        return f"127.0.0.1:{line.rsplit(' ', 1)[1]}"


@contextmanager
def _served(service: Service, log: list[str]) -> Iterator[Served]:
    host = Host(service, Plugins().formats(), Plugins(), service.settings)
    sets: list = []
    register_routes(sets.append)
    routes = [route for each in sets for route in each.routes(host)]
    management = ModelManagement(service.models, is_open=service.settings.multi_model)
    app = App(service, management, 8, routes, Access.of(service.settings))
    server = uvicorn.Server(uvicorn.Config(app.asgi, "127.0.0.1", 0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield Served("http://{}:{}".format(*server.servers[0].sockets[0].getsockname()), host, log)
    for call in host.at_end:
        call()
    server.should_exit = True
    thread.join()


@pytest.fixture
def serve(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Callable[..., Served]]:
    """Serves a service over sockets, with these variables of the protocols."""
    with ExitStack() as stack:

        def start(service: Service, **variables: str) -> Served:
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
            with caplog.at_level("INFO"):
                served = stack.enter_context(_served(service, []))
            served.log += [record.getMessage() for record in caplog.records]
            return served

        yield start


@pytest.fixture
def served(serve: Callable[..., Served], service: Service) -> Served:
    """A server of every protocol, on ports of its own."""
    return serve(service, PROTOCOLS_GRPC_PORT="0")


@pytest.fixture
def scene() -> NDArray[np.uint8]:
    """60 rows, 80 columns: a red, a green and a blue instance, which overlap."""
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[5:30, 10:40, 0] = 255
    pixels[20:50, 30:70, 1] = 230
    pixels[40:58, 2:35, 2] = 200
    return pixels


@pytest.fixture
def picture(encode: Callable[..., bytes], scene: NDArray[np.uint8]) -> bytes:
    """The scene as a PNG file."""
    return encode(scene)


@dataclass
class Contract:
    """What the notebook is told of a picture."""

    names: list[str]
    scores: list[float]
    boxes: NDArray[np.float64]
    """Corners x1, y1, x2, y2, as integers."""
    masks: NDArray[np.bool_]


@pytest.fixture
def notebook(served: Served, picture: bytes) -> Contract:
    """The answer to the notebook's own request, decoded as the notebook does."""
    asked = {"img_id": "a.png", "img_data": base64.b64encode(picture).decode()}
    found = httpx.post(f"{served.url}/invocations", json=asked).json()["annotations"]
    assert [one["category_name"] for one in found] == ["red", "green", "blue"]
    boxes = np.array([one["bbox"] for one in found], float)
    boxes[:, 2:] += boxes[:, :2]
    masks = []
    for one in found:
        counts, size = one["segmentation"]["counts"], one["segmentation"]["size"]
        masks.append(np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(size))
    return Contract(
        names=[one["category_name"] for one in found],
        scores=[one["score"] for one in found],
        boxes=boxes,
        masks=np.stack(masks),
    )
