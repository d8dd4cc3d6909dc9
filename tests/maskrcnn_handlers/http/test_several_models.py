"""A server of several models, over HTTP's words without a socket, and as a process."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from maskrcnn_handlers import service as handlers
from maskrcnn_handlers.http.asgi import App
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.service import Service
from maskrcnn_plugin_kit.testing.fake import FakeModel
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import Image, PredictOptions
from maskrcnn_server.categories import named
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.models_file import Spec, read_models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.hosting.turns import Turns
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import Settings
from maskrcnn_study import faulty as faulty_backend

if TYPE_CHECKING:
    from server_fixtures import Install, Server

FAULTY = Path(str(faulty_backend.__file__))
PNG = {"Content-Type": "image/png"}
FILE = """
models:
  street: {model: s, default: true}
  cells: {model: c, score_threshold: 0.9}
  broken: {model: "https://me:secret@a.example/b.zip?signature=secret"}
"""


class Named(FakeModel):
    """Its categories are called by its name."""

    def __init__(self, name: str, score_threshold: float) -> None:
        super().__init__(score_threshold)
        categories = named([f"{name} {colour}" for colour in ("red", "green", "blue")])
        self.metadata = type(self.metadata)(
            name="colours", backend="fake", categories=categories, score_threshold=score_threshold
        )


class Hanging(FakeModel):
    def __init__(self) -> None:
        super().__init__(0.5)
        self.go_on = threading.Event()

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        self.go_on.wait(60)
        return super().predict(images, options)


def opened(spec: Spec) -> tuple[Scheduler, Path]:
    if spec.name == "broken":
        raise InvalidModel("nothing in it")
    return Scheduler(Named(spec.name, spec.settings.score_threshold or 0.5), max_waiting=4), Path(
        "/"
    )


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Models:
    monkeypatch.setattr("maskrcnn_server.hosting.models._estimated", lambda _: 0)
    (tmp_path / "models.yaml").write_text(FILE)
    several = Models(lambda _: Scheduler(FakeModel(0.5), max_waiting=1), tmp_path, 0, evicts=False)
    several.open(read_models(tmp_path / "models.yaml", environment.read().model), opened)
    return several


@pytest.fixture
def several(
    models: Models, settings: Settings, connect: Callable[[App], httpx.Client]
) -> httpx.Client:
    service = Service(Plugins().formats(), settings, models)
    return connect(App(service, ModelManagement(models, is_open=False), threads=4))


def categories(reply: httpx.Response) -> set[str]:
    assert reply.status_code == 200, reply.text
    return {one["category_name"] for one in reply.json()["annotations"]}


@pytest.mark.parametrize(
    ("path", "headers", "model"),
    [
        ("/models/street/invocations", {}, "street"),
        ("/models/cells/invocations", {}, "cells"),
        ("/models/cells/invoke", {}, "cells"),
        ("/invocations", {}, "street"),
        ("/invocations", {"X-Amzn-SageMaker-Custom-Attributes": "model=cells"}, "cells"),
        ("/invocations", {"X-Amzn-SageMaker-Custom-Attributes": "rpn=true;model=cells"}, "cells"),
        ("/invocations", {"X-Amzn-SageMaker-Target-Model": "cells"}, "cells"),
        ("/endpoints/any/invocations", {"X-Amzn-SageMaker-Target-Model": "cells"}, "cells"),
    ],
)
def test_a_model_is_named_by_path_or_header(
    several: httpx.Client, png: bytes, path: str, headers: dict[str, str], model: str
) -> None:
    reply = several.post(path, content=png, headers=PNG | headers)
    assert categories(reply) == {f"{model} red"}


def test_each_model_has_its_own_threshold(
    several: httpx.Client, encode: Callable[..., bytes], pixels: np.ndarray
) -> None:
    faint = encode((pixels * 0.8).astype(np.uint8))
    assert categories(several.post("/models/street/invocations", content=faint, headers=PNG))
    assert not categories(several.post("/models/cells/invocations", content=faint, headers=PNG))


def test_a_model_that_is_not_there_is_404_and_the_others_are_listed(
    several: httpx.Client, png: bytes
) -> None:
    reply = several.post("/models/sheep/invocations", content=png, headers=PNG)
    assert reply.status_code == 404
    assert reply.json()["error"]["message"] == (
        "no model sheep is loaded (there are: broken, cells, street)"
    )


def test_a_model_that_failed_is_503_with_the_reason_and_the_server_is_ready(
    several: httpx.Client, png: bytes
) -> None:
    reply = several.post("/models/broken/invocations", content=png, headers=PNG)
    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "model_failed"
    assert "nothing in it" in reply.json()["error"]["message"]
    ping = several.get("/ping")
    assert (ping.status_code, ping.json()["models"]) == (200, ["street", "cells"])


def test_the_state_of_each_model_is_told_and_no_secret(several: httpx.Client) -> None:
    listed = {model["modelName"]: model for model in several.get("/models").json()["models"]}
    assert listed["street"]["status"] == "ready"
    assert listed["broken"] == several.get("/models/broken").json()
    assert listed["broken"] == {
        "modelName": "broken",
        "modelUrl": "https://a.example/b.zip",
        "status": "failed",
        "reason": "nothing in it",
    }


def test_models_of_a_file_stay_unless_the_server_is_multi_model(several: httpx.Client) -> None:
    for reply in (
        several.delete("/models/street"),
        several.post("/models", json={"model_name": "broken"}),
    ):
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "multi_model_off")


def test_metrics_say_which_model_answers(several: httpx.Client) -> None:
    text = several.get("/metrics").text
    assert 'maskrcnn_model_up{model="street"} 1.0' in text
    assert 'maskrcnn_model_restarts_total{model="cells"} 0.0' in text


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    model = Hanging()
    yield model
    model.go_on.set()


def test_a_request_to_a_model_that_hangs_is_answered_and_the_server_unhealthy(
    settings: Settings,
    hanging: Hanging,
    connect: Callable[[App], httpx.Client],
    png: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handlers, "ENCODE_S", 0.1)
    single = Models.single(Scheduler(hanging, max_waiting=4, turns=Turns(), limit_s=0.2))
    hasty = settings.model_copy(update={"timeout_s": 0.2})
    service = Service(Plugins().formats(), hasty, single)
    client = connect(App(service, ModelManagement(service.models), threads=4))
    assert client.get("/ping").status_code == 200
    reply = client.post("/invocations", content=png, headers=PNG)
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "backend_timed_out")
    ping = client.get("/ping")
    assert (ping.status_code, ping.json()["error"]["code"]) == (503, "model_failed")
    late = client.post("/invocations", content=png, headers=PNG)
    assert (late.status_code, late.json()["error"]["code"]) == (503, "model_failed")


@pytest.fixture
def faulty(start: Callable[..., Server], install: Install, tmp_path: Path) -> Callable[..., Server]:
    """Starts a server over the faulty backend."""

    def server(*options: str, **variables: str) -> Server:
        env = install(FAULTY.read_text(), **variables)
        return start(tmp_path, "--backend", "faulty", *options, env=env)

    return server


def test_a_server_of_one_isolated_model_survives_what_ends_its_process(
    faulty: Callable[..., Server], tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    server = faulty("--model", str(tmp_path), MASKRCNN_ISOLATION="process")
    server.wait_for(200)

    def ask(height: int) -> tuple[int, Any]:
        picture = encode(np.full((height, 30, 3), 200, np.uint8))
        url = f"{server.url}/invocations"
        reply = httpx.post(url, content=picture, headers=PNG, timeout=60)
        return reply.status_code, reply.json()

    for height, status, code in ((12, 500, "backend_crashed"), (11, 500, "backend_failed")):
        answered, body = ask(height)
        assert (answered, body["error"]["code"]) == (status, code)
    assert ask(40)[0] == 200
    worker = int((tmp_path / "pid").read_text())
    assert server.end()[0] == 0
    assert not Path(f"/proc/{worker}").exists()
    log = server.log.read_text()
    assert "model: last words" in log
    assert "RuntimeError: on purpose" in log


def test_a_model_with_two_devices_answers_while_one_process_is_back(
    faulty: Callable[..., Server], tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    """Which of its processes lives is told by /ping, the model's description and the metrics."""
    (tmp_path / "model").mkdir()
    file = tmp_path / "models.yaml"
    file.write_text("models: {pair: {model: model, backend: faulty, device: 'cuda:0,cuda:1'}}")
    server = faulty("--models", str(file))
    server.wait_for(200)

    def workers() -> list[dict[str, str]]:
        found: list[dict[str, str]] = httpx.get(f"{server.url}/models/pair").json()["workers"]
        return found

    assert workers() == [{"device": f"cuda:{index}", "status": "ready"} for index in (0, 1)]
    pid = int((tmp_path / "model/pid").read_text())
    os.kill(pid, signal.SIGKILL)
    picture = encode(np.full((40, 30, 3), 200, np.uint8))
    url = f"{server.url}/models/pair/invocations"
    for _ in range(8):
        assert httpx.post(url, content=picture, headers=PNG, timeout=60).status_code == 200
    while any(worker["status"] != "ready" for worker in workers()):
        time.sleep(0.05)
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'maskrcnn_worker_up{device="cuda:1",model="pair",worker="1"} 1.0' in metrics
    assert 'maskrcnn_model_restarts_total{model="pair"} 1.0' in metrics
    assert server.end()[0] == 0
    assert "was killed by SIGKILL; it restarts in 0.0 s" in server.log.read_text()
    assert not Path(f"/proc/{int((tmp_path / 'model/pid').read_text())}").exists()


def test_what_runs_in_an_isolated_model_is_finished_when_the_server_ends(
    faulty: Callable[..., Server], tmp_path: Path, png: bytes, pool: ThreadPoolExecutor
) -> None:
    """Also where the signal goes to every process, as service managers send it."""
    server = faulty("--model", str(tmp_path), MASKRCNN_ISOLATION="process", FAULTY_SECONDS="1")
    server.wait_for(200)
    url = f"{server.url}/invocations"
    request = pool.submit(httpx.post, url, content=png, headers=PNG, timeout=60)
    time.sleep(0.3)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    assert server.end()[0] == 0
    assert request.result().status_code == 200


def test_a_models_yaml_that_is_wrong_is_one_line(
    faulty: Callable[..., Server], tmp_path: Path
) -> None:
    (tmp_path / "models.yaml").write_text("models: {a: {modle: x}}")
    server = faulty("--models", str(tmp_path / "models.yaml"))
    assert server.process.wait(60) == 1
    said = server.log.read_text()
    assert "models.a.modle: no such key; the nearest is model" in said
    assert "Traceback" not in said


def test_each_model_has_its_own_defaults_for_requests(
    tmp_path: Path,
    settings: Settings,
    connect: Callable[[App], httpx.Client],
    png: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("maskrcnn_server.hosting.models._estimated", lambda _: 0)
    text = "models: {a: {model: /a, format: coco, max_detections: 1}, b: {model: /b, masks: false}}"
    (tmp_path / "models.yaml").write_text(text)
    models = Models(lambda _: Scheduler(FakeModel(0.5), max_waiting=1), tmp_path, 0, evicts=False)
    models.open(read_models(tmp_path / "models.yaml", settings.model), opened)
    service = Service(Plugins().formats(), settings, models)
    client = connect(App(service, ModelManagement(models, is_open=False), threads=4))
    (one,) = client.post("/models/a/invocations", content=png, headers=PNG).json()
    assert "segmentation" in one
    annotations = client.post("/models/b/invocations", content=png, headers=PNG).json()
    assert all("segmentation" not in one for one in annotations["annotations"])
    asked = {"X-Amzn-SageMaker-Custom-Attributes": "format=sagemaker"}
    reply = client.post("/models/a/invocations", content=png, headers=PNG | asked).json()
    assert len(reply["annotations"]) == 1
