"""TensorFlow Serving's, KServe's and Vertex AI's requests; and routes that platforms choose."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from maskrcnn_protocols import settings as protocol_settings
from maskrcnn_server import settings as environment
from maskrcnn_server.errors import InvalidSetting

if TYPE_CHECKING:
    from protocol_fixtures import Contract, Served

    from maskrcnn_handlers.service import Service

PREDICT = "/v1/models/colours:predict"


def b64(file: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(file).decode()}


def masks(prediction: dict[str, Any]) -> NDArray[np.bool_]:
    runs = [one["segmentation"] for one in prediction["annotations"]]
    return np.stack(
        [
            np.repeat(np.arange(len(one["counts"])) % 2 == 1, one["counts"]).reshape(one["size"])
            for one in runs
        ]
    )


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/colours/versions/1:predict"])
@pytest.mark.parametrize("key", [None, "image_bytes"])
def test_masks_are_those_of_the_notebook(
    served: Served, picture: bytes, notebook: Contract, path: str, key: str | None
) -> None:
    instance = b64(picture) if key is None else {key: b64(picture)}
    asked = {"instances": [instance, instance], "signature_name": "serving_default"}
    reply = httpx.post(served.url + path, json=asked)
    first, second = reply.json()["predictions"]
    assert np.array_equal(masks(first), notebook.masks)
    assert np.array_equal(masks(second), notebook.masks)


def test_parameters_are_options(served: Served, picture: bytes) -> None:
    asked = {"instances": [b64(picture)], "parameters": {"max_detections": 1, "format": "coco"}}
    ((found,),) = httpx.post(served.url + PREDICT, json=asked).json()["predictions"]
    assert found["category_name"] == "red"


def test_one_bad_instance_leaves_the_others(served: Served, picture: bytes) -> None:
    asked = {"instances": [b64(b"bad"), b64(picture)]}
    bad, good = httpx.post(served.url + PREDICT, json=asked).json()["predictions"]
    assert bad["error"]["code"] == "invalid_image"
    assert len(good["annotations"]) == 3


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({}, 400, "instances: Field required"),
        ({"instances": []}, 400, "instances"),
        ({"instances": [[1, 2]] * 33}, 400, "instances"),
        ({"instances": [{"a": 1}]}, 400, "instances.0"),
        ({"instances": [{"b64": "x"}], "parameters": {"score_treshold": 1}}, 400, "nearest"),
        ({"instances": [{"b64": "aaaa"}], "parameters": {"format": "overlay"}}, 406, "overlay"),
    ],
)
def test_errors_are_text(served: Served, asked: Any, status: int, said: str) -> None:
    reply = httpx.post(served.url + PREDICT, json=asked)
    assert reply.status_code == status
    assert said in reply.json()["error"]


def test_models_are_told(served: Served) -> None:
    asked = {"instances": [b64(b"x")]}
    assert httpx.get(f"{served.url}/v1/models").json() == {"models": ["colours"]}
    told = httpx.get(f"{served.url}/v1/models/colours").json()
    assert (told["ready"], told["model_version_status"][0]["state"]) == (True, "AVAILABLE")
    assert httpx.get(f"{served.url}/v1/models/other").status_code == 404
    assert httpx.post(f"{served.url}/v1/models/other:predict", json=asked).status_code == 404


def test_vertex_names_its_routes(
    serve: Callable[..., Served], service: Service, picture: bytes, notebook: Contract
) -> None:
    served = serve(
        service,
        AIP_HEALTH_ROUTE="/v1/endpoints/7/deployedModels/8",
        AIP_PREDICT_ROUTE="/v1/endpoints/7/deployedModels/8:predict",
        AIP_STORAGE_URI="gs://bucket/model",
    )
    prefix = f"{served.url}/v1/endpoints/7/deployedModels/8"
    assert httpx.get(prefix).status_code == 200
    asked = {"instances": [b64(picture)], "parameters": None}
    (found,) = httpx.post(f"{prefix}:predict", json=asked).json()["predictions"]
    assert np.array_equal(masks(found), notebook.masks)


def test_vertex_names_its_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIP_HTTP_PORT", "9090")
    assert environment.read().port == 9090


def test_azure_scores_at_a_path_of_its_own(
    serve: Callable[..., Served], service: Service, picture: bytes
) -> None:
    served = serve(service, PROTOCOLS_HEALTH_ROUTES="/,/live", PROTOCOLS_PREDICT_ROUTE="/score")
    assert httpx.get(f"{served.url}/live").status_code == 200
    assert httpx.get(f"{served.url}/").status_code == 200
    kind = {"Content-Type": "image/png"}
    reply = httpx.post(f"{served.url}/score", content=picture, headers=kind)
    assert len(reply.json()["annotations"]) == 3
    assert httpx.post(f"{served.url}/score", content=b"", headers=kind).status_code == 422


def test_a_route_that_is_no_path_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "predict")
    with pytest.raises(InvalidSetting, match="AIP_PREDICT_ROUTE=predict: "):
        protocol_settings.vertex()
