"""The server as a process of its own, over real connections, with the model that comes along."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import PIL.Image
import pytest

if TYPE_CHECKING:
    from server_fixtures import Server

DEMO = Path(__file__).parents[3] / "backends/tensorpack/maskrcnn_tensorpack/demo"
PICTURE = DEMO / "images/shapes-1.png"
MODEL = ("--model", str(DEMO / "model"), "--backend", "tensorpack")
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def demo(
    start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The model that comes along; when the last test is done with it, it ends as it should."""
    server = start(tmp_path_factory.mktemp("demo"), *MODEL)
    server.wait_for(200)
    yield server
    code, seconds = server.end()
    assert code == 0
    assert seconds < 10


@pytest.fixture(scope="module")
def runtime(demo: Server) -> Any:
    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=demo.url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",  # noqa: S106 (nobody checks it)
    )


def test_ping_is_503_until_the_model_is_ready(demo: Server) -> None:
    assert demo.statuses[-1] == 200
    assert set(demo.statuses[:-1]) == {503}


def test_the_playground_has_the_demos_images(demo: Server) -> None:
    assert httpx.get(demo.url).headers["content-type"].startswith("text/html")
    samples = httpx.get(f"{demo.url}/playground/server.json").json()["samples"]
    assert samples[0] == PICTURE.name
    assert httpx.get(f"{demo.url}/playground/samples/0").content == PICTURE.read_bytes()


@pytest.mark.parametrize("size", [(1, 1), (3000, 1), (1, 3000)], ids=lambda s: f"{s[0]}x{s[1]}")
def test_strange_shapes_are_answered(
    demo: Server, encode: Callable[..., bytes], size: tuple[int, int]
) -> None:
    data = encode(PIL.Image.new("RGB", size, "red"))
    reply = httpx.post(f"{demo.url}/invocations", content=data, headers=PNG)
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize(
    "option",
    ["max_detections=1000000000000000000000", "score_threshold=1", "mask_threshold=1", "rpn=true"],
)
def test_extreme_options_are_answered(demo: Server, option: str) -> None:
    headers = PNG | {"X-Amzn-SageMaker-Custom-Attributes": option}
    reply = httpx.post(f"{demo.url}/invocations", content=PICTURE.read_bytes(), headers=headers)
    assert reply.status_code == 200, reply.text
    assert "NaN" not in reply.text


def test_boto3_sends_a_picture_with_attributes(runtime: Any) -> None:
    reply = runtime.invoke_endpoint(
        EndpointName="mask-rcnn",
        ContentType="image/png",
        Accept="application/json",
        CustomAttributes="format=coco;img_id=000000000139.png;max_detections=1",
        Body=PICTURE.read_bytes(),
    )
    (result,) = json.load(reply["Body"])
    assert result["image_id"] == 139


def test_every_stage_is_timed(demo: Server) -> None:
    httpx.post(f"{demo.url}/invocations", content=PICTURE.read_bytes(), headers=PNG)
    text = httpx.get(f"{demo.url}/metrics").text
    for stage in ("wait", "decode", "preprocess", "network", "model", "paste", "encode"):
        counted = rf'maskrcnn_stage_duration_seconds_count{{model="[^"]+",stage="{stage}"}}'
        assert re.search(counted, text)


def test_a_signal_while_tensorflow_loads_ends_the_server(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    server = start(tmp_path, *MODEL)
    server.wait_for(503)
    code, seconds = server.end()
    assert code == 0, server.log.read_text()
    assert seconds < 10


def test_a_folder_without_a_model_is_one_line_and_exit_code_1(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    empty = tmp_path / "model"
    empty.mkdir()
    server = start(tmp_path, "--model", str(empty), "--backend", "tensorpack")
    assert server.process.wait(30) == 1
    errors = [line for line in server.log.read_text().splitlines() if " INFO " not in line]
    assert len(errors) == 1, server.log.read_text()
    assert errors[0].startswith("error (backend_not_selected): ")
    assert str(empty) in errors[0]
