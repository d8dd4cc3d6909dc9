"""Hugging Face's tasks, asked by its own client."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest

if TYPE_CHECKING:
    from protocol_fixtures import Contract, Served

    from maskrcnn_handlers.service import Service

hub = pytest.importorskip("huggingface_hub")

SEGMENTATION = "/hugging-face/image-segmentation"
DETECTION = "/hugging-face/object-detection"


def test_masks_are_those_of_the_notebook(
    served: Served, picture: bytes, notebook: Contract
) -> None:
    client = hub.InferenceClient(served.url + SEGMENTATION)
    found = client.image_segmentation(picture)
    assert [one.label for one in found] == notebook.names
    assert [one.score for one in found] == pytest.approx(notebook.scores)
    masks = np.stack([np.asarray(one.mask) for one in found])
    assert masks.dtype == np.uint8
    assert np.array_equal(masks == 255, notebook.masks)


def test_boxes_are_those_of_the_notebook(
    served: Served, picture: bytes, notebook: Contract
) -> None:
    found = hub.InferenceClient(served.url + DETECTION).object_detection(picture)
    boxes = [[one.box.xmin, one.box.ymin, one.box.xmax, one.box.ymax] for one in found]
    assert np.array_equal(boxes, notebook.boxes)


def test_thresholds_are_parameters(served: Served, picture: bytes) -> None:
    client = hub.InferenceClient(served.url + SEGMENTATION)
    found = client.image_segmentation(picture, threshold=0.95, mask_threshold=0.4)
    assert [one.label for one in found] == ["red"]
    found = hub.InferenceClient(served.url + DETECTION).object_detection(picture, threshold=0.85)
    assert [one.label for one in found] == ["red", "green"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"no image", 400, "Invalid JSON"),
        (b'{"inputs": "%"}', 400, "not base64"),
        (b'{"inputs": "aaaa"}', 422, "no JPEG"),
        (b'{"inputs": "aaaa", "parameters": {"threshold": 2}}', 400, "score_threshold"),
        (b"\xff\xd8\xff half an image", 422, "no JPEG"),
    ],
)
def test_errors_are_text(served: Served, body: bytes, status: int, said: str) -> None:
    reply = httpx.post(served.url + SEGMENTATION, content=body)
    assert reply.status_code == status
    assert said in reply.json()["error"]


def test_an_endpoint_of_hugging_face_has_its_routes(
    serve: Callable[..., Served], service: Service, picture: bytes
) -> None:
    served = serve(
        service,
        PROTOCOLS_HEALTH_ROUTES="/health",
        PROTOCOLS_PREDICT_ROUTE="/",
        PROTOCOLS_PREDICT_AS="huggingface-segmentation",
    )
    assert httpx.get(f"{served.url}/health").status_code == 200
    assert len(hub.InferenceClient(served.url).image_segmentation(picture)) == 3
