"""SageMaker's multi-model calls, over HTTP's words without a socket."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from maskrcnn_handlers.http.asgi import App
from maskrcnn_handlers.http.model_management import PAGE, ModelManagement
from maskrcnn_handlers.service import Service
from maskrcnn_plugin_kit.testing import FakeBackend
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.hosting.models import ACTIVATIONS, Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import Settings


def scheduler(folder: Path) -> Scheduler:
    return Scheduler(FakeBackend().load(ModelConfig(model_dir=folder)), max_waiting=4)


@pytest.fixture
def many(
    settings: Settings, tmp_path: Path, connect: Callable[[App], httpx.Client]
) -> httpx.Client:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    models = Models(scheduler, tmp_path, 2 * ACTIVATIONS + 4096, evicts=False)
    service = Service(Plugins().formats(), settings, models)
    return connect(App(service, ModelManagement(models), threads=4))


def load(client: httpx.Client, name: str, folder: Path) -> httpx.Response:
    return client.post("/models", json={"model_name": name, "url": str(folder)})


def test_a_server_of_many_is_ready_before_it_has_one(many: httpx.Client) -> None:
    reply = many.get("/ping")
    assert (reply.status_code, reply.json()) == (200, {"status": "ready", "models": []})


def test_the_life_of_a_model(many: httpx.Client, tmp_path: Path, png: bytes) -> None:
    assert load(many, "one", tmp_path / "a").status_code == 200
    described = {"modelName": "one", "modelUrl": str(tmp_path / "a"), "status": "ready"}
    assert many.get("/models").json() == {"models": [described]}
    assert many.get("/models/one").json() == described
    headers = {"Content-Type": "image/png"}
    for path in ("/models/one/invoke", "/invocations"):
        reply = many.post(path, content=png, headers=headers)
        assert reply.status_code == 200, reply.text
        assert "annotations" in reply.json()
    assert many.delete("/models/one").status_code == 200
    for gone in (
        many.get("/models/one"),
        many.delete("/models/one"),
        many.post("/models/one/invoke", content=png, headers=headers),
    ):
        assert gone.status_code == 404
        assert gone.json()["error"]["code"] == "model_not_found"


def test_a_second_of_one_name_is_409_and_one_too_many_507(
    many: httpx.Client, tmp_path: Path
) -> None:
    assert load(many, "one", tmp_path / "a").status_code == 200
    again = load(many, "one", tmp_path / "a")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "model_exists")
    assert load(many, "two", tmp_path / "b").status_code == 200
    third = load(many, "three", tmp_path / "c")
    assert (third.status_code, third.json()["error"]["code"]) == (507, "insufficient_memory")
    assert third.json()["error"]["detail"]["free_mb"] == 0


def test_of_several_one_has_to_be_named(many: httpx.Client, tmp_path: Path, png: bytes) -> None:
    for name in ("a", "b"):
        load(many, name, tmp_path / name)
    reply = many.post("/invocations", content=png, headers={"Content-Type": "image/png"})
    assert reply.status_code == 404
    assert (
        "2 models are loaded, and none is the default: name one (there are: a, b)"
        in reply.json()["error"]["message"]
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Invalid JSON"),
        (b"[]", "body"),
        (b'{"model_name": "x"}', "url: is missing"),
        (b'{"model_name": "", "url": "/x"}', "model_name: String should match"),
        (b'{"model_name": "x", "url": "s3://bucket/x"}', "from below"),
    ],
    ids=["nothing", "a list", "no url", "no name", "no folder"],
)
def test_a_bad_load_request_is_400(many: httpx.Client, body: bytes, message: str) -> None:
    reply = many.post("/models", content=body)
    assert reply.status_code == 400
    assert message in reply.json()["error"]["message"]


@pytest.mark.parametrize("name", ["a\nb", "a/b", "../a", "a\0", "x" * 300, "é", "a b", "-a"])
def test_names_are_those_of_a_models_file_or_longer(many: httpx.Client, name: str) -> None:
    assert many.post("/models", json={"model_name": name, "url": "/"}).status_code == 400


def test_a_name_may_be_a_hash(many: httpx.Client, tmp_path: Path) -> None:
    """SageMaker names models by hashes."""
    assert load(many, "0f" * 32, tmp_path / "a").status_code == 200


@pytest.mark.parametrize("folder", ["{root}/a\0b", "{root}/" + "x" * 300, "{root}/loop", "\ud800"])
def test_folders_that_cannot_exist_are_refused(
    many: httpx.Client, tmp_path: Path, folder: str
) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    body = json.dumps({"model_name": "x", "url": folder.format(root=tmp_path)})
    reply = many.post("/models", content=body)
    assert (reply.status_code, reply.headers["content-type"]) == (400, "application/json")


@pytest.mark.parametrize(("count", "status"), [(10_000, 400), (100_000, 413)])
def test_a_request_to_load_is_small(many: httpx.Client, count: int, status: int) -> None:
    body = b'{"a":[' + b"1," * count + b'1],"model_name":"x","url":"/"}'
    assert many.post("/models", content=body).status_code == status


def test_lists_come_in_pages(tmp_path: Path) -> None:
    models = Models(scheduler, tmp_path, (PAGE + 2) * ACTIVATIONS, evicts=False)
    for i in range(PAGE + 1):
        models.load(f"model-{i:03d}", str(tmp_path))
    management = ModelManagement(models)
    first = httpx.Response(200, content=management.list("").body).json()
    assert len(first["models"]) == PAGE
    rest = httpx.Response(200, content=management.list(first["nextPageToken"]).body).json()
    assert [m["modelName"] for m in rest["models"]] == [f"model-{PAGE:03d}"]
    assert "nextPageToken" not in rest
    assert management.list("x").status == 400
    models.close(timeout_s=1)


def test_a_server_of_one_model_loads_no_other(client: httpx.Client, png: bytes) -> None:
    for reply in (
        client.get("/models"),
        client.get("/models/colours"),
        client.post("/models", json={"model_name": "x", "url": "/x"}),
        client.delete("/models/colours"),
    ):
        assert reply.status_code == 404
        assert reply.json()["error"]["code"] == "multi_model_off"
    headers = {"Content-Type": "image/png"}
    own = client.post("/models/colours/invoke", content=png, headers=headers)
    assert own.status_code == 200
    other = client.post("/models/other/invoke", content=png, headers=headers)
    assert other.status_code == 404


def test_batch_transform_is_told_how_to_send(client: httpx.Client) -> None:
    assert client.get("/execution-parameters").json() == {
        "MaxConcurrentTransforms": 2,
        "BatchStrategy": "SINGLE_RECORD",
        "MaxPayloadInMB": 1,
    }
