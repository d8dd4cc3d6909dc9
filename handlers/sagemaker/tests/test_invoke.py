"""`invoke`: the answers are those of a server of this project, in a process of its own.

moto cannot run a container. Where SageMaker's runtime would be, there is the server; of
asynchronous endpoints moto plays all but the container, and is told what that answers.
"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import httpx
import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner, Result

from maskrcnn_handlers.cli.main import program
from maskrcnn_predict.addresses import Address
from maskrcnn_predict.child import served
from maskrcnn_sagemaker.aws import Aws
from maskrcnn_sagemaker.invocations import Invocation, invoke_async
from maskrcnn_server.errors import DeploymentFailed
from maskrcnn_server.plugins import Plugins

pytestmark = pytest.mark.full

app = program(Plugins())

DEMO = Path(__file__).parents[3] / "backends/tensorpack/maskrcnn_tensorpack/demo"
PICTURE = DEMO / "images/shapes-1.png"
DEPLOY = (
    *("deploy", "demo", "--instance-type", "ml.m5.xlarge", "--model", "s3://models/model.tar.gz"),
    *("--image", "123456789012.dkr.ecr.us-east-1.amazonaws.com/maskrcnn-server-tensorpack:1"),
    *("--role", "arn:aws:iam::123456789012:role/mask-rcnn"),
)


def run(*arguments: str | Path) -> Result:
    """The command, whose errors are raised."""
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(DEMO / "model", "tensorpack") as address:
        yield address


def will_answer(moto: str, **result: Any) -> None:
    """Tell moto what the container of an asynchronous endpoint answers next."""
    address = f"{moto}/moto-api/static/sagemaker/async-endpoint-results"
    httpx.post(address, json={"results": [result]}).raise_for_status()


@pytest.mark.usefixtures("aws")
def test_an_endpoint_from_beginning_to_end(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Deployed, asked, updated, scaled, asked again and deleted, with signed requests."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", url)
    run("pack", DEMO / "model", tmp_path / "model.tar.gz", "--backend", "tensorpack")
    local = ("--model", tmp_path / "model.tar.gz", "--upload-to", "s3://models/demo")
    run(*DEPLOY, *local)
    assert "InService" in run("status", "demo").output
    assert "instances" in run("invoke", "demo", PICTURE).output
    run(*DEPLOY, *local, "--env", "MASKRCNN_LOG_LEVEL=debug")
    run(*DEPLOY, *local, "--max-count", "2", "--invocations-per-instance", "20")
    assert "InService" in run("status", "demo").output
    assert "instances" in run("invoke", "demo", PICTURE).output
    run("delete", "demo")
    with pytest.raises(DeploymentFailed, match="there is no endpoint demo"):
        run("invoke", "demo", PICTURE)


def test_a_server_of_ones_own_is_asked_without_an_account(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    answers = tmp_path / "all.json"
    done = run(
        *("invoke", "any", PICTURE, DEMO / "images/shapes-2.png", "--url", url),
        *("--out", tmp_path / "drawn", "--json", answers, "--score-threshold", "0.9"),
    )
    first, second = json.loads(answers.read_text())
    assert (first["img_id"], second["img_id"]) == ("shapes-1.png", "shapes-2.png")
    assert first["annotations"]
    assert all(annotation["score"] >= 0.9 for annotation in first["annotations"])
    assert f"{len(first['annotations'])} instances" in done.output
    drawn, original = (
        np.asarray(PIL.Image.open(path).convert("RGB"))
        for path in (tmp_path / "drawn/shapes-1.png", PICTURE)
    )
    assert drawn.shape == original.shape
    assert (drawn != original).any(axis=2).mean() > 0.02


def test_what_the_container_says_is_shown(url: str, tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"no image")
    with pytest.raises(DeploymentFailed, match="InvokeEndpoint: invalid_image: "):
        run("invoke", "any", tmp_path / "no.png", "--url", url)


class Relaying(BaseHTTPRequestHandler):
    """Stands in for SageMaker, which wraps what a container answers in an error of its own."""

    def do_POST(self) -> None:
        said = {"error": {"code": "queue_full", "message": "32 wait already"}}
        body = {
            "Message": "Received client error (429) from primary with message ...",
            "OriginalMessage": json.dumps(said),
            "OriginalStatusCode": 429,
        }
        data = json.dumps(body).encode()
        self.send_response(424)
        self.send_header("x-amzn-ErrorType", "ModelError")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_what_the_container_says_is_found_in_what_sagemaker_says() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Relaying)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with pytest.raises(DeploymentFailed, match="InvokeEndpoint: queue_full: 32 wait already"):
        run("invoke", "any", PICTURE, "--url", f"http://127.0.0.1:{server.server_address[1]}")
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_asynchronous_endpoint_is_asked_by_way_of_s3(aws: str, url: str) -> None:
    run(*DEPLOY, "--async-output", "s3://models/answers")
    headers = {"Content-Type": "application/x-image"}
    picture = PICTURE.read_bytes()
    answer = httpx.post(f"{url}/invocations", content=picture, headers=headers, timeout=60)
    will_answer(aws, data=answer.text)
    done = run("invoke", "demo", PICTURE)
    assert f"{len(answer.json()['annotations'])} instances" in done.output
    s3 = boto3.client("s3")
    (item,) = s3.list_objects_v2(Bucket="models", Prefix="answers/requests/")["Contents"]
    assert s3.get_object(Bucket="models", Key=item["Key"])["Body"].read() == picture


def test_a_failure_of_an_asynchronous_endpoint_is_shown(aws: str) -> None:
    run(*DEPLOY, "--async-output", "s3://models/answers")
    will_answer(aws, data="out of memory", is_failure=True)
    with pytest.raises(DeploymentFailed, match="the container failed: out of memory"):
        run("invoke", "demo", PICTURE)


def test_waiting_for_an_answer_ends(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    will_answer(aws, data="{}")
    monkeypatch.setattr(Aws, "find", lambda *_: None)
    invocation = Invocation(endpoint="demo", image=b"any")
    times = iter(range(10))
    with pytest.raises(DeploymentFailed, match="no reply after 3 s; when there is one, it is s3:"):
        invoke_async(
            Aws(None), invocation, Address("models", "a"), 3, lambda _: None, lambda: next(times)
        )
