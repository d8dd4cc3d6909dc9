"""All commands, routes, formats, settings and options: a redesign loses none of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import httpx
import pytest
import typer.main

from maskrcnn_handlers.cli.main import program
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import IGNORED, variable_names

if TYPE_CHECKING:
    from server_fixtures import Server

COMMANDS = """
    annotate backends bench calibrate check-backend compare convert convert-results delete demo
    deploy doctor evaluate export faults invoke models new-backend new-engine pack predict serve
    status torchserve verify
""".split()
FORMATS = """
    coco cvat geojson huggingface-detection huggingface-segmentation instance-map labelme
    labelstudio-brush labelstudio-polygons overlay overlay-jpeg polygons roboflow sagemaker soft
    yolo-seg
""".split()
ROUTES = """
    GET /ping
    HEAD /ping
    GET /metrics
    POST /invocations
    POST /endpoints/any/invocations
    POST /models/fake/invoke
    POST /models/fake/invocations
    GET /execution-parameters
    GET /models
    POST /models
    GET /models/fake
    DELETE /models/fake
    GET /openapi.json
    GET /docs
    GET /redoc
    GET /
    GET /playground/server.json
    GET /playground/page.js
    GET /playground/playground.css
    GET /playground/icon.svg
    GET /v2
    GET /v2/health/live
    GET /v2/health/ready
    POST /v2/repository/index
    GET /v1/models
    POST /v1/models/fake:predict
    POST /hugging-face/image-segmentation
    POST /hugging-face/object-detection
    POST /infer/instance_segmentation
    GET /model/registry
    GET /label-studio/health
    POST /label-studio/setup
    POST /label-studio/predict
    POST /label-studio/webhook
""".strip().splitlines()
VARIABLES = """
    AIP_HTTP_PORT BACKEND MASKRCNN_BACKEND MASKRCNN_CACHE MASKRCNN_DEVICE MASKRCNN_DRAIN_TIMEOUT
    MASKRCNN_ENGINE MASKRCNN_FORMAT MASKRCNN_HOST MASKRCNN_ISOLATION MASKRCNN_LOAD_TIMEOUT
    MASKRCNN_LOG_FORMAT MASKRCNN_LOG_LEVEL MASKRCNN_MASK_THRESHOLD MASKRCNN_MAX_BATCH
    MASKRCNN_MAX_CONCURRENT_TRANSFORMS MASKRCNN_MAX_IMAGE_PIXELS MASKRCNN_MAX_PAYLOAD_MB
    MASKRCNN_MAX_WAITING MASKRCNN_MEMORY_LIMIT_MB MASKRCNN_MODEL MASKRCNN_MODELS
    MASKRCNN_MODELS_DIR MASKRCNN_MODELS_EVICT MASKRCNN_MODELS_MEMORY_MB MASKRCNN_MULTI_MODEL
    MASKRCNN_PLAYGROUND MASKRCNN_PORT MASKRCNN_PRECISION MASKRCNN_PREDICT_TIMEOUT
    MASKRCNN_SCORE_THRESHOLD MASKRCNN_STREAMS MASKRCNN_THREADS MASKRCNN_TIMEOUT MASKRCNN_ZOO_URL
    MODEL_SERVER_TIMEOUT MODEL_SERVER_WORKERS OTEL_EXPORTER_OTLP_ENDPOINT
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT PRETRAINED_MODEL RESNET_ARCH SAGEMAKER_BIND_TO_PORT
    SAGEMAKER_MAX_CONCURRENT_TRANSFORMS SAGEMAKER_MAX_PAYLOAD_IN_MB SAGEMAKER_MULTI_MODEL
    SM_MODEL_DIR
""".split()


@pytest.fixture(scope="module")
def server(
    start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server without a model: its routes are there all the same."""
    folder = tmp_path_factory.mktemp("models")
    variables = {"MASKRCNN_MULTI_MODEL": "true", "MASKRCNN_MODELS_DIR": str(folder)}
    running = start(folder, env={**os.environ, **variables})
    running.wait_for(200)
    yield running
    running.end()


def test_every_command_is_there() -> None:
    commands = typer.main.get_command(program(Plugins())).commands  # type: ignore[attr-defined]
    assert set(COMMANDS) <= set(commands)


def test_every_format_is_there() -> None:
    assert set(FORMATS) <= set(Plugins().formats())


def test_every_variable_is_there() -> None:
    known = {name for names in variable_names().values() for name in names} | set(IGNORED)
    assert set(VARIABLES) <= known


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_is_there(server: Server, route: str) -> None:
    method, path = route.split()
    reply = httpx.request(method, server.url + path, follow_redirects=True)
    if reply.status_code == 404:
        assert reply.json()["error"]["code"] == "model_not_found"
    assert reply.status_code != 405
