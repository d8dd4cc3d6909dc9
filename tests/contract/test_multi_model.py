"""SageMaker's multi-model calls, asked of a real server from outside.

`CONTRACT_URL`'s server has to be one of several models; `CONTRACT_MODEL_DIR` is where it finds the
demo model.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from maskrcnn_predict.child import served

DEMO = Path(__file__).parents[2] / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
FOLDER = os.environ.get("CONTRACT_MODEL_DIR", str(DEMO))
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def many() -> Iterator[httpx.Client]:
    """A client of a server without a model; what a test loads, it unloads."""
    if url := os.environ.get("CONTRACT_URL"):
        with httpx.Client(base_url=url, timeout=60) as client:
            yield client
        return
    variables = {"SAGEMAKER_MULTI_MODEL": "true", "MASKRCNN_MODELS_DIR": str(DEMO.parent)}
    with (
        served(None, "tensorpack", variables) as url,
        httpx.Client(base_url=url, timeout=60) as own,
    ):
        yield own


@pytest.fixture
def loaded(many: httpx.Client) -> Iterator[httpx.Client]:
    """With the demo model as `shapes`."""
    reply = load(many, "shapes")
    assert reply.status_code == 200, reply.text
    yield many
    many.delete("/models/shapes")


def load(client: httpx.Client, name: str, url: str = FOLDER) -> httpx.Response:
    return client.post("/models", json={"model_name": name, "url": url})


def test_ping_is_200_without_a_model(many: httpx.Client) -> None:
    assert many.get("/ping").status_code == 200
    assert many.get("/models").json() == {"models": []}


def test_a_model_is_loaded_listed_invoked_and_unloaded(
    many: httpx.Client, png: bytes, expected: dict[str, Any]
) -> None:
    assert load(many, "shapes").status_code == 200
    described = {"modelName": "shapes", "modelUrl": FOLDER, "status": "ready"}
    assert many.get("/models").json() == {"models": [described]}
    assert many.get("/models/shapes").json() == described
    reply = many.post("/models/shapes/invoke", content=png, headers=PNG)
    assert reply.status_code == 200, reply.text
    assert len(reply.json()["annotations"]) == len(expected["scores"])
    assert many.delete("/models/shapes").status_code == 200
    assert many.get("/models").json() == {"models": []}
    assert many.post("/models/shapes/invoke", content=png, headers=PNG).status_code == 404


def test_a_name_that_is_taken_is_409(loaded: httpx.Client) -> None:
    assert load(loaded, "shapes").status_code == 409
    assert loaded.get("/models/shapes").status_code == 200


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_model_is_404(many: httpx.Client, method: str) -> None:
    reply = many.request(method, "/models/other")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    "place", ["/etc", "../../..", f"{FOLDER}/nothing"], ids=["outside", "above", "no folder"]
)
def test_a_path_that_is_not_a_model_is_refused(
    loaded: httpx.Client, png: bytes, place: str
) -> None:
    reply = load(loaded, "bad", place)
    assert 400 <= reply.status_code < 500
    assert reply.json()["error"]["message"]
    assert loaded.post("/models/shapes/invoke", content=png, headers=PNG).status_code == 200


def test_invocations_reach_the_only_model(loaded: httpx.Client, png: bytes) -> None:
    assert loaded.post("/invocations", content=png, headers=PNG).status_code == 200
