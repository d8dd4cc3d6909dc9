"""boto3's clients of SageMaker's runtime and of S3, with this server in place of AWS."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import uvicorn
from botocore.config import Config
from botocore.exceptions import ClientError

from maskrcnn_handlers.http.asgi import App
from maskrcnn_handlers.http.host import Host
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.service import Service
from maskrcnn_sagemaker.local_s3 import Buckets
from maskrcnn_sagemaker.runtime import RuntimeRoutes
from maskrcnn_server import settings as environment
from maskrcnn_server.plugins import Plugins


@pytest.fixture
def url(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server whose S3 is a folder."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    plugins = Plugins()
    settings = environment.read(max_payload_mb=1, local_s3=tmp_path / "s3")
    routes = RuntimeRoutes().routes(Host(service, plugins.formats(), plugins, settings))
    app = App(service, ModelManagement(service.models), threads=4, routes=routes).asgi
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", 0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield "http://{}:{}".format(*server.servers[0].sockets[0].getsockname())
    server.should_exit = True
    thread.join()


@pytest.fixture
def runtime(url: str) -> Any:
    config = Config(retries={"total_max_attempts": 1})
    return boto3.client("sagemaker-runtime", endpoint_url=url, config=config)


@pytest.fixture
def s3(url: str) -> Any:
    return boto3.client("s3", endpoint_url=f"{url}/s3")


IMAGE = {"EndpointName": "any", "ContentType": "image/png"}


def test_an_error_of_the_container_is_a_model_error(runtime: Any) -> None:
    with pytest.raises(runtime.exceptions.ModelError) as raised:
        runtime.invoke_endpoint(**IMAGE, Body=b"no image")
    said = raised.value.response
    assert said["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert said["OriginalStatusCode"] == 422
    assert json.loads(said["OriginalMessage"])["error"]["code"] == "invalid_image"
    assert "Received client error (422) from primary" in said["Error"]["Message"]


def test_a_streamed_answer_is_the_answer(runtime: Any, png: bytes) -> None:
    whole = runtime.invoke_endpoint(**IMAGE, Body=png)["Body"].read()
    streamed = runtime.invoke_endpoint_with_response_stream(**IMAGE, Body=png)
    parts = [event["PayloadPart"]["Bytes"] for event in streamed["Body"]]
    assert json.loads(b"".join(parts)) == json.loads(whole)
    assert streamed["ContentType"] == "application/json"


def test_a_streamed_error_is_a_model_error(runtime: Any) -> None:
    with pytest.raises(runtime.exceptions.ModelError):
        runtime.invoke_endpoint_with_response_stream(**IMAGE, Body=b"no image")
    with pytest.raises(runtime.exceptions.ModelError) as raised:
        runtime.invoke_endpoint_with_response_stream(**IMAGE, Body=bytes(2 << 20))
    assert raised.value.response["OriginalStatusCode"] == 413


@pytest.mark.parametrize("works", [True, False], ids=["an-image", "no-image"])
def test_an_asynchronous_invocation_goes_by_way_of_the_folder(
    runtime: Any, s3: Any, png: bytes, works: bool
) -> None:
    s3.put_object(Bucket="models", Key="in/a.png", Body=png if works else b"no image")
    accepted = runtime.invoke_endpoint_async(
        **IMAGE, InputLocation="s3://models/in/a.png", InferenceId="mine"
    )
    assert accepted["InferenceId"] == "mine"
    place = accepted["OutputLocation" if works else "FailureLocation"]
    bucket, _, key = place.removeprefix("s3://").partition("/")
    s3.get_waiter("object_exists").wait(
        Bucket=bucket, Key=key, WaiterConfig={"Delay": 1, "MaxAttempts": 20}
    )
    answer = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    assert ("annotations" in answer) is works
    assert ("error" in answer) is not works
    listed = s3.list_objects_v2(Bucket="models", Prefix="in/")["Contents"]
    assert [item["Key"] for item in listed] == ["in/a.png"]


def test_an_object_that_does_not_exist_is_said(runtime: Any, s3: Any) -> None:
    with pytest.raises(ClientError, match="no such object"):
        runtime.invoke_endpoint_async(**IMAGE, InputLocation="s3://models/none")
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket="models", Key="none")


def test_buckets_are_made_and_found(s3: Any) -> None:
    assert s3.list_buckets()["Buckets"] == []
    with pytest.raises(ClientError, match="404"):
        s3.head_bucket(Bucket="models")
    s3.create_bucket(Bucket="models")
    s3.head_bucket(Bucket="models")
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["models"]
    assert "Contents" not in s3.list_objects_v2(Bucket="models")


def test_an_object_is_no_larger_than_a_request(s3: Any) -> None:
    with pytest.raises(ClientError, match="EntityTooLarge"):
        s3.put_object(Bucket="models", Key="a", Body=bytes(2 << 20))
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket="models", Key="a")


@pytest.mark.parametrize(("bucket", "key"), [("a", "../../b"), ("..", "b"), (".", "b")])
def test_no_key_leaves_the_folder(tmp_path: Path, bucket: str, key: str) -> None:
    assert Buckets(tmp_path, lambda _: None).file(bucket, key) is None
