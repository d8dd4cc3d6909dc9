"""The function for CVAT in `examples/cvat`, called as nuclio does, answered by a server."""

import base64
import importlib.util
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import yaml

from maskrcnn_handlers.request.envelope import Envelope
from maskrcnn_handlers.service import Service
from maskrcnn_plugin_kit.testing import FakeBackend
from maskrcnn_predict import local
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.categories import coco
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.plugins import Plugins

FOLDER = Path(__file__).parents[3] / "examples/cvat"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server, reduced to the one route that the function calls."""
    model = FakeBackend().load(ModelConfig(model_dir=tmp_path))
    models = Models.single(Scheduler(model, max_waiting=1))
    service = Service(Plugins().formats(), environment.read(), models)

    class Route(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            reply = service.invoke(Envelope.of(body, self.headers["Content-Type"]))
            self.send_response(reply.status if self.path == "/invocations" else 404)
            self.send_header("Content-Type", reply.content_type)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Route) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def loaded(name: str) -> Any:
    """A module of the folder."""
    specification = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def function() -> Any:
    return loaded("main")


def handed_over() -> Any:
    """A context of nuclio's."""
    return SimpleNamespace(
        user_data=SimpleNamespace(),
        logger=SimpleNamespace(info=lambda _: None),
        Response=SimpleNamespace,
    )


@pytest.fixture
def context(function: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What nuclio hands over."""
    monkeypatch.setenv("MASKRCNN_URL", url + "/")
    made = handed_over()
    function.init_context(made)
    return made


def event(data: bytes, **fields: Any) -> Any:
    return SimpleNamespace(body={"image": base64.b64encode(data).decode(), **fields})


@pytest.fixture
def frame() -> bytes:
    """A red box in black, x 3 to 9, y 2 to 5, and a dim green one."""
    pixels = np.zeros((8, 10, 3), np.uint8)
    pixels[2:5, 3:9, 0] = 255
    pixels[6:8, 0:2, 1] = 140
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_a_frame_is_annotated(function: Any, context: Any, frame: bytes) -> None:
    reply = function.handler(context, event(frame, threshold=0.6))
    assert (reply.status_code, reply.content_type) == (200, "application/json")
    (shape,) = json.loads(reply.body)
    assert (shape["label"], shape["type"], shape["confidence"]) == ("red", "mask", "1.0")
    assert shape["mask"] == [1] * 18 + [3, 2, 8, 4]


def test_cvats_sdk_takes_the_annotation(function: Any, context: Any, frame: bytes) -> None:
    """CVAT's server makes run lengths of the pixels; here is what its SDK reads of them then."""
    masks = pytest.importorskip("cvat_sdk.masks", reason="cvat-sdk needs Python 3.11")
    shapes = json.loads(function.handler(context, event(frame)).body)
    assert len(shapes) == 2
    *pixels, x1, y1, x2, y2 = shapes[0]["mask"]
    whole = np.zeros((8, 10), np.bool_)
    whole[y1 : y2 + 1, x1 : x2 + 1] = np.reshape(pixels, (y2 - y1 + 1, x2 - x1 + 1))
    encoded = masks.encode_mask(whole)
    assert encoded[-4:] == [x1, y1, x2, y2]
    decoded = masks.decode_mask(encoded, image_width=10, image_height=8)
    assert decoded[2:5, 3:9].all()
    assert decoded.sum() == 18


def test_a_refusal_is_handed_on(function: Any, context: Any) -> None:
    reply = function.handler(context, event(b"no picture"))
    assert reply.status_code == 422
    assert json.loads(reply.body)["error"]["code"] == "invalid_image"


def test_a_function_with_a_model_of_its_own_annotates_the_same(
    function: Any, context: Any, frame: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins = Plugins()
    monkeypatch.setattr(plugins, "backends", lambda: {"fake": FakeBackend()})
    monkeypatch.setattr(local, "installed", lambda: plugins)
    monkeypatch.delenv("MASKRCNN_URL")
    monkeypatch.setenv("MASKRCNN_MODEL", str(tmp_path))
    own, made = loaded("with_model"), handed_over()
    own.init_context(made)
    reply = own.handler(made, event(frame, threshold=0.5))
    assert reply.status_code == 200
    assert reply.body == function.handler(context, event(frame, threshold=0.5)).body
    assert own.handler(made, event(b"no picture")).status_code == 422


def test_the_configuration_is_what_cvat_and_nuclio_read() -> None:
    configuration = yaml.safe_load((FOLDER / "function.yaml").read_text())
    annotations = configuration["metadata"]["annotations"]
    assert annotations["type"] == "detector"
    labels = json.loads(annotations["spec"])
    assert [label["name"] for label in labels] == [category.name for category in coco()]
    assert {label["type"] for label in labels} == {"mask"}
    assert configuration["spec"]["handler"] == "main:handler"
    names = [variable["name"] for variable in configuration["spec"]["env"]]
    source = (FOLDER / "main.py").read_text()
    assert all(f'os.environ["{name}"]' in source for name in names)
