"""The Open Inference Protocol, message by message, and what hostile ones get."""

from __future__ import annotations

import base64
import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from maskrcnn_handlers.service import Service
from maskrcnn_plugin_kit.testing import FakeBackend
from maskrcnn_protocols import settings as protocol_settings
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.plugins import Plugins

if TYPE_CHECKING:
    from protocol_fixtures import Contract, Served

INFER = "/v2/models/colours/infer"
LENGTH = "Inference-Header-Content-Length"


def in_json(*files: bytes, **fields: Any) -> dict[str, Any]:
    data = [base64.b64encode(file).decode() for file in files]
    image = {"name": "image", "shape": [len(files)], "datatype": "BYTES", "data": data}
    return {"inputs": [image], **fields}


@pytest.mark.parametrize("parameters", [{}, {"content_type": "base64"}], ids=["plain", "mlserver"])
def test_json_alone_works(
    served: Served, picture: bytes, notebook: Contract, parameters: dict[str, str]
) -> None:
    asked = in_json(picture, id="x")
    asked["inputs"][0]["parameters"] = parameters
    reply = httpx.post(served.url + INFER, json=asked)
    assert reply.status_code == 200
    content = reply.json()
    assert (content["id"], content["model_name"], content["model_version"]) == ("x", "colours", "1")
    outputs = {one["name"]: one for one in content["outputs"]}
    assert outputs["names"]["data"] == notebook.names
    assert outputs["boxes"]["shape"] == [3, 4]
    assert outputs["boxes"]["data"] == notebook.boxes.ravel().tolist()
    assert json.loads(outputs["masks_rle"]["data"][0])["size"] == [60, 80]


def test_pixels_may_be_json(served: Served, pixels: np.ndarray) -> None:
    for data in (pixels.ravel().tolist(), [pixels.tolist()]):
        image = {"name": "image", "shape": [1, 8, 10, 3], "datatype": "UINT8", "data": data}
        content = httpx.post(served.url + INFER, json={"inputs": [image]}).json()
        assert content["outputs"][0]["data"] == [3, 2, 9, 5]


def test_curl_needs_no_more_than_this(served: Served, picture: bytes) -> None:
    """Triton's raw form: JSON, then the element with its length."""
    raw = struct.pack("<I", len(picture)) + picture
    described: dict[str, object] = {"name": "image", "shape": [1], "datatype": "BYTES"}
    described["parameters"] = {"binary_data_size": len(raw)}
    text = json.dumps({"inputs": [described]}).encode()
    reply = httpx.post(served.url + INFER, content=text + raw, headers={LENGTH: str(len(text))})
    assert reply.status_code == 200, reply.text


def _binary(described: dict[str, Any], raw: bytes) -> tuple[bytes, dict[str, str]]:
    text = json.dumps({"inputs": [described]}).encode()
    return text + raw, {LENGTH: str(len(text))}


IMAGE = {"name": "image", "shape": [1], "datatype": "BYTES"}
HOSTILE: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "no JSON": (b"{", {}, 400, "Invalid JSON"),
    "a list": (b"[]", {}, 400, "body"),
    "nothing": (b"", {}, 400, "Invalid JSON"),
    "a negative length": (b"{}", {LENGTH: "-1"}, 400, "not a length"),
    "a length of digits": (b"{}", {LENGTH: "9" * 5000}, 400, "not a length"),
    "a length past the end": (b"{}", {LENGTH: "3"}, 400, "not a length"),
    "bytes that nobody announced": (b'{"inputs":[]}x', {LENGTH: "13"}, 400, "1 bytes follow"),
    "more bytes than there are": (
        *_binary(IMAGE | {"parameters": {"binary_data_size": 9}}, b"1234"),
        400,
        "not within",
    ),
    "an element longer than the data": (
        *_binary(IMAGE | {"parameters": {"binary_data_size": 6}}, b"\xff\xff\xff\xff12"),
        400,
        "are not 1 elements",
    ),
    "more elements than the shape": (
        *_binary(IMAGE | {"parameters": {"binary_data_size": 8}}, b"\0" * 8),
        400,
        "are not 1 elements",
    ),
    "a huge shape": (
        json.dumps(
            {"inputs": [{**IMAGE, "datatype": "UINT8", "shape": [2**40, 1, 1, 3], "data": [1]}]}
        ).encode(),
        {},
        400,
        "shape is a list",
    ),
    "a million lists": (
        b'{"inputs":[{"name":"image","shape":[1],"datatype":"UINT8","data":['
        + b"[]," * 500_000
        + b"[]]}]}",
        {},
        413,
        "larger than 1 MiB",
    ),
    "an unknown type": (
        json.dumps({"inputs": [{**IMAGE, "datatype": "FP8", "data": [1]}]}).encode(),
        {},
        400,
        "'FP8' is not read",
    ),
    "numbers as texts": (
        json.dumps({"inputs": [{**IMAGE, "data": [1]}]}).encode(),
        {},
        400,
        "a list of texts",
    ),
    "no base64": (
        json.dumps({"inputs": [{**IMAGE, "data": ["%"]}]}).encode(),
        {},
        400,
        "not base64",
    ),
    "another input": (
        json.dumps({"inputs": [{**IMAGE, "name": "x", "data": ["aaaa"]}]}).encode(),
        {},
        400,
        "called image",
    ),
    "33 images": (json.dumps(in_json(*[b"x"] * 33)).encode(), {}, 400, "1 to 32"),
    "an unknown output": (
        json.dumps(in_json(b"x", outputs=[{"name": "mask"}])).encode(),
        {},
        400,
        "the outputs are boxes",
    ),
    "a misspelt option": (
        json.dumps(in_json(b"x", parameters={"score_treshold": 1})).encode(),
        {},
        400,
        "nearest is score_threshold",
    ),
    "an impossible option": (
        json.dumps(in_json(b"x", parameters={"score_threshold": 2})).encode(),
        {},
        400,
        "score_threshold",
    ),
    "a compression that nobody knows": (b"x", {"Content-Encoding": "br"}, 415, "gzip and deflate"),
    "no gzip": (b"no gzip at all", {"Content-Encoding": "gzip"}, 400, "not gzip"),
    "half a stream": (
        gzip.compress(b"{}" * 100)[:-9],
        {"Content-Encoding": "gzip"},
        400,
        "not one whole gzip stream",
    ),
    "a bomb": (gzip.compress(b" " * (200 << 20)), {"Content-Encoding": "gzip"}, 413, "unpacked"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_message_is_refused_in_the_protocols_form(served: Served, case: str) -> None:
    body, headers, status, said = HOSTILE[case]
    reply = httpx.post(served.url + INFER, content=body, headers=headers)
    assert (reply.status_code, list(reply.json())) == (status, ["error"])
    assert said in reply.json()["error"]


def test_images_of_different_sizes_have_no_common_map(
    served: Served, picture: bytes, png: bytes
) -> None:
    asked = in_json(picture, png, outputs=[{"name": "masks"}])
    reply = httpx.post(served.url + INFER, json=asked)
    assert (reply.status_code, reply.json()["error"].split(";")[0]) == (
        400,
        "output masks: the images have different sizes",
    )


def test_a_model_may_have_another_name(
    serve: Callable[..., Served], service: Service, picture: bytes
) -> None:
    served = serve(service, PROTOCOLS_MODEL_NAME="street")
    assert httpx.get(f"{served.url}/v2/models/street").json()["name"] == "street"
    reply = httpx.post(f"{served.url}/v2/models/street/infer", json=in_json(picture))
    assert reply.json()["model_name"] == "street"
    assert httpx.post(served.url + INFER, json=in_json(picture)).status_code == 404


def test_a_server_that_loads_is_live_and_not_ready(
    serve: Callable[..., Served], settings: environment.Settings
) -> None:
    served = serve(Service(Plugins().formats(), settings, Models.single()))
    assert httpx.get(f"{served.url}/v2/health/live").status_code == 200
    assert httpx.get(f"{served.url}/v2/health/ready").status_code == 503
    assert httpx.get(f"{served.url}/v2/models/colours/ready").status_code == 404


def test_health_alone_needs_no_key(serve: Callable[..., Served], scheduler: Scheduler) -> None:
    settings = environment.read(api_key="secret")
    served = serve(Service(Plugins().formats(), settings, Models.single(scheduler)))
    assert httpx.get(f"{served.url}/v2/health/ready").status_code == 200
    assert httpx.get(f"{served.url}/v2/models/colours/ready").status_code == 200
    assert httpx.get(f"{served.url}/v2/models/colours").status_code == 401
    assert httpx.post(served.url + INFER).status_code == 401
    key = {"Authorization": "Bearer secret"}
    assert httpx.get(f"{served.url}/v2/models/colours", headers=key).status_code == 200


@pytest.fixture
def several(serve: Callable[..., Served], tmp_path: Path) -> Served:
    """A server that loads models by request."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()

    def load(folder: Path) -> Scheduler:
        return Scheduler(FakeBackend().load(ModelConfig(model_dir=folder)), max_waiting=4)

    settings = environment.read(multi_model=True, models_dir=tmp_path)
    models = Models(load, tmp_path, 1 << 40, evicts=False)
    return serve(Service(Plugins().formats(), settings, models))


def test_models_are_loaded_listed_asked_and_unloaded(several: Served, picture: bytes) -> None:
    repository = f"{several.url}/v2/repository"
    assert httpx.post(f"{repository}/index").json() == []
    for name in ("one", "two"):
        assert httpx.post(f"{repository}/models/{name}/load", json={}).status_code == 200
    assert httpx.post(f"{repository}/models/one/load").status_code == 409
    index = httpx.post(f"{repository}/index", json={"ready": True}).json()
    assert [(one["name"], one["state"]) for one in index] == [("one", "READY"), ("two", "READY")]
    asked = in_json(picture)
    reply = httpx.post(f"{several.url}/v2/models/two/versions/1/infer", json=asked)
    assert reply.json()["model_name"] == "two"
    assert httpx.post(f"{repository}/models/two/unload").status_code == 200
    assert httpx.post(f"{several.url}/v2/models/two/infer", json=asked).status_code == 404


@pytest.mark.parametrize("name", ["absent", "..", "%2e%2e%2fetc", "a" * 300])
def test_no_other_folder_is_loaded(several: Served, name: str) -> None:
    reply = httpx.post(f"{several.url}/v2/repository/models/{name}/load")
    assert reply.status_code in (400, 404)


def test_a_single_model_stays(served: Served) -> None:
    for call in ("load", "unload"):
        reply = httpx.post(f"{served.url}/v2/repository/models/colours/{call}")
        assert (reply.status_code, "MASKRCNN_MULTI_MODEL" in reply.json()["error"]) == (404, True)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PROTOCOLS_GRPC_PORTS", "1", "the nearest is PROTOCOLS_GRPC_PORT"),
        ("PROTOCOLS_GRPC_PORT", "x", "PROTOCOLS_GRPC_PORT=x: "),
    ],
)
def test_a_wrong_setting_is_named(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSetting, match=said):
        protocol_settings.read()
