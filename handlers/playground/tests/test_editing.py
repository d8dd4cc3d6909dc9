"""Exports of edited annotations, and pictures for the browser, without one."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest

from maskrcnn_handlers.http.access import Access
from maskrcnn_handlers.http.asgi import App
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.request.envelope import Envelope
from maskrcnn_handlers.service import Service
from maskrcnn_playground.editing import Editing
from maskrcnn_server.errors import RequestError
from maskrcnn_server.plugins import Plugins

KEY = "correct-horse"


@pytest.fixture
def page(service: Service, connect: Callable[[App], httpx.Client]) -> httpx.Client:
    """A client of a server with the routes, which needs a key; `fake` has one category, red."""
    routes = Editing(service, Plugins().formats()).routes()
    app = App(service, ModelManagement(service.models), 4, routes, Access(api_key=KEY))
    client = connect(app)
    client.headers["Authorization"] = f"Bearer {KEY}"
    return client


def edited(page: httpx.Client, **changes: Any) -> dict[str, Any]:
    """One instance in the upper left corner of an image of 60 x 80."""
    (first, *_) = page.get("/playground/model.json").json()["categories"]
    annotation = {
        "bbox": [0, 0, 2, 1],
        "category_id": first["id"],
        "category_name": first["name"],
        "score": 0.75,
        "segmentation": {"counts": [0, 2, 4798], "size": [60, 80]},
    }
    return {"img_id": "a.png", "image_size": [60, 80], "annotations": [annotation | changes]}


def export(page: httpx.Client, body: object, form: str = "coco") -> httpx.Response:
    return page.post("/playground/export", params={"format": form}, json=body)


def test_the_page_is_told_of_the_model(page: httpx.Client) -> None:
    told = page.get("/playground/model.json").json()
    assert not told["is_coco"]
    assert {"id", "name"} == set(told["categories"][0])
    assert page.get("/playground/model.json?model=absent").status_code == 404


def test_edited_annotations_become_a_file(page: httpx.Client) -> None:
    (one,) = export(page, edited(page)).json()
    assert (one["bbox"], one["score"], one["area"]) == ([0, 0, 2, 1], 0.75, 2)
    again = export(page, edited(page), "sagemaker").json()
    assert again["annotations"][0]["segmentation"]["counts"] == [0, 2, 4798]


def test_nothing_that_is_left_is_a_file_too(page: httpx.Client) -> None:
    assert export(page, edited(page) | {"annotations": []}).json() == []


def test_a_new_category_has_the_next_number(page: httpx.Client) -> None:
    categories = page.get("/playground/model.json").json()["categories"]
    last = max(each["id"] for each in categories)
    (one,) = export(page, edited(page, category_id=last + 1, category_name="lynx")).json()
    assert one["category_id"] == last + 1


def test_what_is_drawn_is_drawn_on_the_image(page: httpx.Client) -> None:
    file = BytesIO()
    PIL.Image.fromarray(np.full((60, 80, 3), 77, np.uint8)).save(file, "PNG")
    whole = edited(page) | {"img_data": base64.b64encode(file.getvalue()).decode()}
    drawn = np.asarray(PIL.Image.open(BytesIO(export(page, whole, "overlay").content)))
    assert tuple(drawn[59, 79]) == (77, 77, 77)
    wrong = whole | {"image_size": [80, 60]}
    assert "image_size" in export(page, wrong, "overlay").json()["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"category_name": "another"}, "in the model, not 'another'"),
        ({"segmentation": {"counts": [0, 2], "size": [60, 80]}}, "4800"),
        ({"segmentation": {"counts": [0, 2, 4798], "size": [80, 60]}}, "a mask of size"),
        ({"bbox": [0, 0, "nan", 1]}, "bbox"),
        ({"score": 2}, "score"),
    ],
    ids=["name", "short mask", "other size", "no number", "score"],
)
def test_what_cannot_be_is_refused(page: httpx.Client, changes: dict[str, Any], said: str) -> None:
    reply = export(page, edited(page, **changes))
    assert reply.status_code == 400
    assert said in reply.json()["error"]["message"]


def test_hostile_bodies_are_refused(page: httpx.Client) -> None:
    for body, status in (
        (b"", 400),
        (b"[" * 100_000, 400),
        (b"{}", 400),
        (json.dumps(edited(page) | {"img_data": "no base64!"}).encode(), 422),
        (bytes(3 * 2**20), 413),
    ):
        reply = page.post("/playground/export?format=coco", content=body)
        assert reply.status_code == status, body[:20]
    huge = edited(page) | {"image_size": [1 << 24, 1 << 24], "annotations": []}
    assert export(page, huge).status_code == 400
    assert "absent" in export(page, edited(page), "absent").json()["error"]["message"]


def test_a_picture_is_a_png(page: httpx.Client) -> None:
    file = BytesIO()
    PIL.Image.fromarray(np.full((10, 5000, 3), 9, np.uint8)).save(file, "TIFF")
    reply = page.post("/playground/picture", content=file.getvalue())
    assert reply.headers["content-type"] == "image/png"
    assert PIL.Image.open(BytesIO(reply.content)).size == (4096, 8)
    assert page.post("/playground/picture", content=b"none").status_code == 422


@pytest.mark.parametrize("path", ["export?format=coco", "picture", "model.json"])
def test_they_need_the_key(page: httpx.Client, path: str) -> None:
    del page.headers["Authorization"]
    method = "GET" if path == "model.json" else "POST"
    assert page.request(method, f"/playground/{path}").status_code == 401


def test_an_image_at_an_address_comes_by_the_server(
    page: httpx.Client, service: Service, png: bytes
) -> None:
    """The address is completed as by the plugin that fetches; only images are passed on."""
    files = {"https://allowed.example/a": png, "https://allowed.example/b": b"a secret"}

    def prepare(envelope: Envelope) -> Envelope:
        url = json.loads(envelope.body)["img_url"]
        if url not in files:
            raise RequestError("img_url: not allowed")
        return replace(
            envelope,
            body=json.dumps({"img_data": base64.b64encode(files[url]).decode()}).encode(),
        )

    def fetch(url: str) -> httpx.Response:
        return page.post("/playground/address", json={"img_url": url})

    refused = fetch("https://allowed.example/a")
    assert refused.status_code == 400
    assert "fetches no images" in refused.json()["error"]["message"]
    service.prepare = prepare
    found = fetch("https://allowed.example/a")
    assert (found.content, found.headers["Content-Type"]) == (png, "image/png")
    assert fetch("https://allowed.example/b").json()["error"]["code"] == "invalid_image"
    assert fetch("https://other.example/a").status_code == 400
    page.headers["Authorization"] = "Bearer wrong"
    assert fetch("https://allowed.example/a").status_code == 401


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"img_url"', b'{"img_data": 7}', b"\xff"])
def test_an_address_that_is_none_is_refused(page: httpx.Client, body: bytes) -> None:
    reply = page.post(
        "/playground/address", content=body, headers={"Content-Type": "application/json"}
    )
    assert reply.status_code == 400
