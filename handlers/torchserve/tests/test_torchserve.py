"""TorchServe's handler and files, without TorchServe."""

from __future__ import annotations

import importlib
import json
import os
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from maskrcnn_handlers.request.envelope import ATTRIBUTES
from maskrcnn_server import settings as environment
from maskrcnn_server.errors import InvalidModel, StartupError
from maskrcnn_server.plugins import Plugins
from maskrcnn_torchserve import files, process
from maskrcnn_torchserve.handler import ANSWERED, CAME, FORM, SECTION, MaskRCNNHandler

PNG = "image/png"
UNLUCKY_WIDTH = 13

PLUGIN = f"""
from maskrcnn_server import hookimpl
from maskrcnn_plugin_kit.testing import FakeBackend

batches = []

class Recording(FakeBackend):
    name = "recording"

    def load(self, config):
        if (config.model_dir / "broken").exists():
            raise RuntimeError("no such layer")
        model = super().load(config)
        predict = model.predict

        def recorded(images, options):
            batches.append(len(images))
            if any(image.shape[1] == {UNLUCKY_WIDTH} for image in images):
                raise RuntimeError("unlucky")
            return predict(images, options)

        model.predict = recorded
        return model

@hookimpl
def register_backends(register):
    register(Recording())
"""


class Context:
    """What the handler uses of TorchServe's."""

    def __init__(self, folder: Path, model: Path) -> None:
        config = {
            "model": str(model),
            "backend": "recording",
            "directory": str(Path.cwd()),
            "status": str(folder / "status"),
        }
        self.model_yaml_config: Mapping[str, Any] = {SECTION: config}
        self.system_properties: Mapping[str, Any] = {"model_dir": str(folder)}
        self.requests: list[dict[str, object]] = []
        self.statuses: dict[int, tuple[int, str]] = {}
        self.headers: dict[int, dict[str, str]] = {}

    def get_all_request_header(self, idx: int) -> Mapping[str, object]:
        return self.requests[idx]

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        self.statuses[idx] = code, phrase

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.set_response_header(idx, "content-type", value)

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        self.headers.setdefault(idx, {})[key] = value


@pytest.fixture
def plugin(install: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The backend `recording`, installed in this process."""
    monkeypatch.syspath_prepend(install(PLUGIN)["PYTHONPATH"].partition(os.pathsep)[0])
    monkeypatch.delitem(sys.modules, "stranger", raising=False)
    monkeypatch.setattr("maskrcnn_torchserve.handler.installed", Plugins)
    return importlib.import_module("stranger")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(tmp_path, tmp_path)


@pytest.fixture
def handler(plugin: ModuleType, context: Context) -> MaskRCNNHandler:
    loaded = MaskRCNNHandler()
    loaded.initialize(context)
    plugin.batches.clear()
    return loaded


Ask = Callable[..., list[Any]]


@pytest.fixture
def ask(handler: MaskRCNNHandler, context: Context) -> Ask:
    """Answers to a batch of bodies, each with its content type and headers."""

    def asked(*requests: tuple[bytes, str] | tuple[bytes, str, dict[str, object]]) -> list[Any]:
        context.requests = [
            {"Content-Type": request[1], **(request[2] if len(request) > 2 else {})}
            for request in requests
        ]
        bodies = handler.handle([{"body": bytearray(r[0])} for r in requests], context)
        return [json.loads(body) for body in bodies]

    return asked


def codes(context: Context) -> list[int]:
    return [context.statuses[index][0] for index in sorted(context.statuses)]


def test_a_batch_reaches_the_backend_as_one(ask: Ask, plugin: ModuleType, png: bytes) -> None:
    answers = ask(*[(png, PNG)] * 4)
    assert plugin.batches == [4]
    assert [len(answer["annotations"]) for answer in answers] == [1] * 4


def test_each_answer_is_its_own_requests(
    ask: Ask, plugin: ModuleType, encode: Callable[..., bytes]
) -> None:
    red = np.zeros((20, 30, 3), np.uint8)
    red[..., 0] = 255
    shapes = [(20, 30), (8, 6), (15, 9)]
    answers = ask(*[(encode(red[:height, :width]), PNG) for height, width in shapes])
    sizes = [tuple(a["annotations"][0]["segmentation"]["size"]) for a in answers]
    assert plugin.batches == [3]
    assert sizes == shapes


def test_requests_with_other_options_are_a_batch_of_their_own(
    ask: Ask, plugin: ModuleType, png: bytes
) -> None:
    other: dict[str, object] = {"X-Amzn-SageMaker-Custom-Attributes": "masks=false"}
    answers = ask((png, PNG), (png, PNG, other), (png, PNG))
    assert sorted(plugin.batches) == [1, 2]
    assert "segmentation" not in answers[1]["annotations"][0]
    assert "segmentation" in answers[2]["annotations"][0]


def test_each_request_has_its_own_status(
    ask: Ask, context: Context, plugin: ModuleType, png: bytes
) -> None:
    gif: dict[str, object] = {"Accept": "image/gif"}
    answers = ask(
        *((png, PNG), (b"no picture", PNG), (b"{", "application/json")),
        *((b"no image", "text/plain"), (png, PNG, gif), (png, PNG)),
    )
    assert codes(context) == [200, 422, 400, 415, 406, 200]
    assert context.statuses[1] == (422, "Unprocessable Entity")
    assert answers[1]["error"]["code"] == "invalid_image"
    assert plugin.batches == [2]


def test_an_image_that_the_model_fails_on_fails_alone(
    ask: Ask, context: Context, encode: Callable[..., bytes], png: bytes
) -> None:
    unlucky = encode(np.zeros((5, UNLUCKY_WIDTH, 3), np.uint8))
    answers = ask((png, PNG), (unlucky, PNG), (png, PNG))
    assert codes(context) == [200, 500, 200]
    assert answers[1]["error"]["code"] == "backend_failed"
    assert "unlucky" not in answers[1]["error"]["message"]


def test_a_form_is_told_by_a_header_of_its_own(ask: Ask, context: Context, png: bytes) -> None:
    """TorchServe would take it apart if it knew what it is."""
    form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    body = form + png + b"\r\n--b--\r\n"
    told: dict[str, object] = {FORM: "multipart/form-data; boundary=b"}
    (answer,) = ask((body, "application/octet-stream", told))
    assert codes(context) == [200]
    assert answer["img_id"] == "a.png"


def test_several_images_are_answered_beside_other_requests(
    ask: Ask, context: Context, plugin: ModuleType, question: dict[str, Any], png: bytes
) -> None:
    several = json.dumps({"instances": [question] * 3}).encode()
    answers = ask((several, "application/json"), (png, PNG), (several, "application/json"))
    assert codes(context) == [200, 200, 200]
    assert [len(answers[i]["predictions"]) for i in (0, 2)] == [3, 3]
    assert plugin.batches == [3, 2, 2]


def test_a_request_that_waited_for_too_long_does_not_run(
    ask: Ask, context: Context, plugin: ModuleType, png: bytes
) -> None:
    answers = ask((png, PNG, {CAME: "-1e9"}), (png, PNG))
    assert codes(context) == [504, 200]
    assert answers[0]["error"]["code"] == "deadline_exceeded"
    assert plugin.batches == [1]


@pytest.mark.parametrize("body", [None, {"img_id": "a"}, "text"], ids=["none", "dict", "text"])
def test_a_body_that_is_no_bytes_is_an_empty_one(
    handler: MaskRCNNHandler, context: Context, body: object
) -> None:
    context.requests = [{"content-type": "application/json"}]
    handler.handle([{"body": body}], context)
    assert codes(context) == [400]


def test_an_empty_batch_has_no_answers(handler: MaskRCNNHandler, context: Context) -> None:
    assert handler.handle([], context) == []


def test_replies_say_what_they_are_and_whose(ask: Ask, context: Context, png: bytes) -> None:
    ask((png, PNG), (b"{", "application/json"))
    for index in (0, 1):
        headers = context.headers[index]
        assert "total;dur=" in headers.pop("Server-Timing")
        assert headers.pop(ATTRIBUTES, "height=8;width=10") == "height=8;width=10"
        assert headers == {"content-type": "application/json", ANSWERED: "true"}


@pytest.mark.usefixtures("handler")
def test_who_started_torchserve_is_told_of_the_model(tmp_path: Path) -> None:
    assert json.loads((tmp_path / "status").read_text()) == {
        "status": "ready",
        "model": "colours",
        "backend": "fake",
    }


@pytest.mark.usefixtures("plugin")
def test_who_started_torchserve_is_told_why_there_is_no_model(
    context: Context, tmp_path: Path
) -> None:
    (tmp_path / "broken").touch()
    with pytest.raises(InvalidModel, match="no such layer"):
        MaskRCNNHandler().initialize(context)
    told = json.loads((tmp_path / "status").read_text())
    assert told["code"] == "invalid_model"
    assert "no such layer" in told["message"]


@pytest.mark.usefixtures("plugin")
def test_the_stand_in_for_pytorch_is_gone_once_torchserve_has_it(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write(tmp_path, environment.read(), files.Options(), {}, stand_in=True)
    with zipfile.ZipFile(tmp_path / "store/maskrcnn.mar") as archive:
        archive.extract("torch/__init__.py", tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert importlib.import_module("torch").Tensor
    MaskRCNNHandler().initialize(context)
    assert "torch" not in sys.modules
    assert str(tmp_path) not in sys.path


@pytest.fixture
def written(tmp_path: Path) -> Path:
    settings = environment.read(max_waiting=5, max_payload_mb=10)
    options = files.Options(batch_size=4, batch_delay_ms=7, metrics_port=9002)
    files.write(tmp_path, settings, options, {"model": "/m"}, stand_in=True)
    return tmp_path


def test_the_archive_names_the_handler_and_its_model(written: Path) -> None:
    with zipfile.ZipFile(written / "store/maskrcnn.mar") as archive:
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))
        config = json.loads(archive.read(manifest["model"]["configFile"]))
        assert set(archive.namelist()) == {
            *("MAR-INF/MANIFEST.json", "model-config.yaml", "torch/__init__.py")
        }
    module = importlib.import_module(manifest["model"]["handler"])
    classes = [c for c in vars(module).values() if getattr(c, "__module__", "") == module.__name__]
    assert [c for c in classes if isinstance(c, type)] == [MaskRCNNHandler]
    assert config[SECTION] == {"model": "/m"}
    assert config["batchSize"] == 4
    assert config["maxBatchDelay"] == 7
    assert config["minWorkers"] == config["maxWorkers"] == 1
    assert config["jobQueueSize"] == 9


def test_pytorch_is_used_where_it_is(tmp_path: Path) -> None:
    files.write(tmp_path, environment.read(), files.Options(), {}, stand_in=False)
    with zipfile.ZipFile(tmp_path / "store/maskrcnn.mar") as archive:
        assert "torch/__init__.py" not in archive.namelist()


def test_settings_of_torchserve_are_safe(written: Path) -> None:
    lines = (written / "config.properties").read_text().splitlines()
    properties = dict(line.split("=", 1) for line in lines)
    assert properties["inference_address"] == f"unix:{written}/inference"
    assert properties["management_address"] == f"unix:{written}/management"
    assert properties["metrics_address"] == "http://127.0.0.1:9002"
    assert properties["grpc_inference_address"] == "127.0.0.1"
    assert properties["grpc_management_address"] == "127.0.0.1"
    assert properties["allowed_urls"] == f"file://{written}/store/.*"
    assert {name for name, value in properties.items() if value == "false"} == {
        *("enable_model_api", "decode_input_request", "install_py_dep_per_model")
    }
    assert "disable_token_authorization=true" in lines
    assert int(properties["max_request_size"]) > 10 << 20
    assert int(properties["max_response_size"]) > 1 << 30


def java(folder: Path, said: str) -> None:
    program = folder / "bin/java"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
    program.chmod(0o755)


def test_a_machine_without_java_is_told_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartupError, match=r"none is on the path: .* apt-get install"):
        process.command(tmp_path)


@pytest.mark.parametrize(
    "said", ['openjdk version "11.0.2"', 'java version "1.8.0_392"', "no"], ids=["11", "8", "none"]
)
def test_an_old_java_is_named(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java(tmp_path, said)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(StartupError, match=f"another Java than {tmp_path}/bin/java"):
        process.command(tmp_path)


def test_the_java_of_java_home_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java(tmp_path, 'openjdk version "21" 2023-09-19')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert f"{tmp_path}/bin/java" in process.command(tmp_path)


def test_a_missing_torchserve_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    importlib.invalidate_caches()
    with pytest.raises(StartupError, match=r"pip install 'maskrcnn-server\[torchserve\]'"):
        process.command(tmp_path)
