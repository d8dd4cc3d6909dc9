"""The log's lines, and the ids by which requests are found in them."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import pytest

from maskrcnn_handlers.http.asgi import App
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.observe import request_ids
from maskrcnn_handlers.observe.logs import TEXT, JsonFormatter, TextFormatter, UnblockedHandler
from maskrcnn_handlers.service import Service
from maskrcnn_plugin_kit.testing.fake import FakeModel
from maskrcnn_server.backend import Image, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import Settings

if TYPE_CHECKING:
    from server_fixtures import Install, Server

PNG = {"Content-Type": "image/png"}
INFERENCE_ID = "X-Amzn-SageMaker-Inference-Id"
ID = request_ids.HEADER


class Broken(FakeModel):
    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        raise RuntimeError(f"the graph\nfailed on {len(images)} with {options.masks}")


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What was logged as JSON."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.removeHandler(handler)
    root.setLevel(level)


Lines = Callable[[], "list[dict[str, Any]]"]


def test_a_request_is_one_line(client: httpx.Client, lines: Lines, png: bytes) -> None:
    reply = client.post("/invocations", content=png, headers=PNG)
    (line,) = [one for one in lines() if one["logger"] == "maskrcnn_handlers.service"]
    assert line.pop("time")[-6:] == "+00:00"
    assert 0 < line.pop("duration_s") < 10
    assert set(line["stages_s"]) == {"wait", "decode", "model", "paste", "encode"}
    assert all(0 <= seconds < 10 for seconds in line.pop("stages_s").values())
    assert line.pop("message").startswith(f"request {reply.headers[ID]}: 200 in ")
    assert line == {
        "level": "INFO",
        "logger": "maskrcnn_handlers.service",
        "request_id": reply.headers[ID],
        "model": "colours",
        "status": 200,
        "code": "",
        "bytes_in": len(png),
        "bytes_out": len(reply.content),
    }


def test_a_fault_has_its_traceback_in_the_same_line(
    settings: Settings, connect: Callable[[App], httpx.Client], lines: Lines, png: bytes
) -> None:
    models = Models.single(Scheduler(Broken(0.5), max_waiting=1))
    service = Service(Plugins().formats(), settings, models)
    client = connect(App(service, ModelManagement(service.models), threads=1))
    reply = client.post("/invocations", content=png, headers=PNG)
    fault, request = (one for one in lines() if one["logger"].startswith("maskrcnn_handlers."))
    assert "RuntimeError: the graph\nfailed on 1" in fault["exception"]
    assert (request["status"], request["code"]) == (500, "backend_failed")
    ids = {fault["request_id"], request["request_id"], reply.headers[ID]}
    assert ids == {reply.json()["request_id"]}


def test_nothing_of_images_and_headers_is_logged(
    client: httpx.Client, lines: Lines, png: bytes
) -> None:
    secret = "s3cr3t" * 4
    encoded = base64.b64encode(png).decode()
    headers = {"Authorization": f"Bearer {secret}", "Cookie": secret, "X-Api-Key": secret}
    client.post("/invocations", json={"img_id": secret, "img_data": encoded}, headers=headers)
    client.post("/invocations", json={"img_id": secret, "img_data": secret}, headers=headers)
    client.post("/invocations", json={"img_data": encoded, secret: 1}, headers=headers)
    client.post("/invocations", content=b"{" + png, headers=headers)
    client.post(f"/models/{secret}/invoke", content=png, headers=PNG | headers)
    client.post(f"/invocations?token={secret}", content=png, headers=PNG | headers)
    text = json.dumps([one for one in lines() if one["logger"] != "httpx"])
    assert len(lines()) >= 6
    assert secret not in text
    assert encoded[:16] not in text


@pytest.mark.parametrize("name", [ID, INFERENCE_ID, ID.lower()])
@pytest.mark.parametrize("given", ["a", "7c9e6679-7425-40de", "Root=1-67891233:x/y+z@w", "x" * 128])
def test_a_clients_id_is_used(
    client: httpx.Client, lines: Lines, png: bytes, name: str, given: str
) -> None:
    reply = client.post("/invocations", content=png, headers=PNG | {name: given})
    assert reply.headers[ID] == given
    assert lines()[-2]["request_id"] == given or lines()[-1]["request_id"] == given


@pytest.mark.parametrize(
    "given",
    ["", "x" * 129, "a b", 'a"b', "<script>", "a\tb", "{}", "a;b", "%0a", "é"],
    ids=lambda given: given[:9] or "empty",
)
def test_a_strange_id_is_not_used(client: httpx.Client, given: str) -> None:
    reply = client.get("/ping", headers=[(ID.encode(), given.encode("latin-1"))])
    assert len(reply.headers[ID]) == 32
    assert reply.headers[ID].isalnum()


def test_the_first_sane_id_wins(client: httpx.Client) -> None:
    assert client.get("/ping", headers={INFERENCE_ID: "a", ID: "b"}).headers[ID] == "a"
    assert client.get("/ping", headers={INFERENCE_ID: "a b", ID: "b"}).headers[ID] == "b"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/ping"), ("GET", "/metrics"), ("GET", "/models"), ("PUT", "/a"), ("GET", "/docs")],
)
def test_every_answer_has_an_id_of_its_own(client: httpx.Client, method: str, path: str) -> None:
    first, second = (client.request(method, path) for _ in range(2))
    assert len({first.headers[ID], second.headers[ID]}) == 2
    for reply in first, second:
        if reply.status_code >= 400:
            assert reply.json()["request_id"] == reply.headers[ID]


def test_no_id_outside_of_requests(lines: Lines) -> None:
    logging.getLogger("somebody").warning("line\nbreak \u2028 %s", {"a": 1})
    assert request_ids.current() == ""
    (line,) = lines()
    assert "request_id" not in line
    assert line["message"] == "line\nbreak \u2028 {'a': 1}"


def test_half_a_surrogate_pair_is_written_as_it_is() -> None:
    record = logging.makeLogRecord({"msg": "half \ud800"})
    written = JsonFormatter().format(record)
    assert written.isascii()
    assert json.loads(written)["message"] == "half \ud800"


def test_a_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    record = logging.makeLogRecord({"msg": "a\r\nb\u2028c\x85d"})
    handler.emit(record)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_line_of_text_cannot_be_forged() -> None:
    forged = "a\nb\r2026-01-01 00:00:00 ERROR \x1b[31m \u2028 \ud800 forged"
    try:
        raise ValueError(forged)
    except ValueError:
        record = logging.makeLogRecord({"msg": forged, "exc_info": sys.exc_info()})
    first, *rest = TextFormatter(TEXT).format(record).splitlines()
    assert first.endswith(r"a\nb\r2026-01-01 00:00:00 ERROR \x1b[31m \u2028 \ud800 forged")
    assert rest
    assert all(line.startswith("    ") for line in rest)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe that is full."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    yield reading, writing
    os.set_blocking(reading, False)
    with suppress(BlockingIOError):
        while os.read(reading, 1 << 20):
            pass


def test_a_pipe_that_nobody_reads_blocks_nobody(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    handler = UnblockedHandler(writing, max_waiting=10)
    start = time.monotonic()
    for number in range(1000):
        handler.emit(logging.makeLogRecord({"msg": f"line {number}"}))
    handler.flush()
    assert time.monotonic() - start < 5
    os.read(reading, 1 << 20)
    handler.flush()
    handler.emit(logging.makeLogRecord({"msg": "last"}))
    handler.flush()
    said = os.read(reading, 1 << 20).decode().splitlines()
    assert said[-2].endswith("lines of the log were lost")
    assert said[-1] == "last"


def test_an_ordinary_handler_would_block(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    handler = logging.StreamHandler(os.fdopen(writing, "w", buffering=1, closefd=False))
    record = logging.makeLogRecord({"msg": "line"})
    writes = threading.Thread(target=handler.emit, args=(record,))
    writes.start()
    writes.join(0.5)
    assert writes.is_alive()
    os.read(reading, 1 << 20)
    writes.join()


def test_a_real_server_logs_json(
    start: Callable[..., Server], install: Install, tmp_path: Path, question: dict[str, Any]
) -> None:
    env = install(MASKRCNN_LOG_FORMAT="json", PRETRAINED_MODEL="x")
    server = start(tmp_path, "--backend", "fake", "--model", str(tmp_path), env=env)
    server.wait_for(200)
    runtime = boto3.client(
        "sagemaker-runtime",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",  # noqa: S106 (nobody checks it)
    )
    reply = runtime.invoke_endpoint(
        EndpointName="any",
        ContentType="application/json",
        InferenceId="inference-7",
        Body=json.dumps(question),
    )
    assert reply["ResponseMetadata"]["HTTPHeaders"][ID.lower()] == "inference-7"
    assert server.end()[0] == 0
    said = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in said)
    assert {"uvicorn.error", "maskrcnn_handlers.http.server"} <= {line["logger"] for line in said}
    (request,) = [line for line in said if line.get("request_id") == "inference-7"]
    assert (request["status"], request["model"]) == (200, "colours")


def test_a_server_that_cannot_start_says_so_in_json(
    start: Callable[..., Server], install: Install, tmp_path: Path
) -> None:
    env = install(MASKRCNN_LOG_FORMAT="json")
    server = start(tmp_path, "--backend", "fake", "--model", "/absent", env=env)
    assert server.process.wait(60) == 1
    said = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert said[-1]["message"].startswith("error (")
