"""What a client of any front end may rely on: docs/contract.md, asked from outside."""

import base64
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import httpx
import numpy as np
import PIL.Image
import pytest

GOLDEN = Path(__file__).parents[1] / "demo/golden"
CLASSES = ["circle", "square", "triangle", "star", "hexagon", "cross"]
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
JSON = {"Content-Type": "application/json"}
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as connected:
        yield connected


def notebook(png: bytes, **fields: Any) -> dict[str, Any]:
    return {"img_id": "a.png", "img_data": base64.b64encode(png).decode(), **fields}


def jpeg(width: int, height: int, colour: int = 128) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (width, height), (colour,) * 3).save(buffer, "JPEG")
    return buffer.getvalue()


def assert_is_the_golden_answer(answer: Any, expected: dict[str, Any]) -> None:
    annotations = answer["annotations"]
    assert len(annotations) == len(expected["scores"]) >= 9
    for annotation, box, score, class_id, area in zip(
        annotations, *(expected[k] for k in ("boxes", "scores", "class_ids", "areas")), strict=True
    ):
        x1, y1, x2, y2 = box.tolist()
        assert annotation["category_id"] == class_id
        assert annotation["category_name"] == CLASSES[class_id - 1]
        assert annotation["score"] == pytest.approx(score, abs=1e-3)
        np.testing.assert_allclose(annotation["bbox"], [x1, y1, x2 - x1, y2 - y1], atol=1.01)
        assert all(isinstance(v, int) for v in annotation["bbox"])
        counts = annotation["segmentation"]["counts"]
        assert sum(counts) == np.prod(annotation["segmentation"]["size"])
        assert sum(counts[1::2]) == pytest.approx(area, abs=2)


def test_ping_is_200(client: httpx.Client) -> None:
    assert client.get("/ping").status_code == 200


def test_a_notebook_gets_what_the_original_code_found(
    client: httpx.Client, png: bytes, expected: dict[str, Any]
) -> None:
    reply = client.post("/invocations", json=notebook(png))
    assert reply.status_code == 200, reply.text
    assert reply.json()["img_id"] == "a.png"
    assert_is_the_golden_answer(reply.json(), expected)


def test_replies_are_declared_as_json(client: httpx.Client, png: bytes) -> None:
    reply = client.post("/invocations", json=notebook(png))
    assert reply.headers["content-type"].partition(";")[0] == "application/json"


@pytest.mark.parametrize("content_type", ["image/png", "application/x-image"])
def test_an_image_file_gets_the_same_reply(
    content_type: str, client: httpx.Client, png: bytes, expected: dict[str, Any]
) -> None:
    reply = client.post("/invocations", content=png, headers={"Content-Type": content_type})
    assert reply.status_code == 200, reply.text
    assert_is_the_golden_answer(reply.json(), expected)


def test_jpeg_is_read(client: httpx.Client) -> None:
    reply = client.post(
        "/invocations", content=jpeg(60, 40), headers={"Content-Type": "image/jpeg"}
    )
    assert reply.status_code == 200, reply.text


def test_options_may_be_in_the_request(
    client: httpx.Client, png: bytes, expected: dict[str, Any]
) -> None:
    reply = client.post("/invocations", json=notebook(png, score_threshold=0.9))
    scores = [annotation["score"] for annotation in reply.json()["annotations"]]
    assert len(scores) == (expected["scores"] >= 0.9).sum()
    assert min(scores) >= 0.9


def test_options_may_be_in_custom_attributes(client: httpx.Client, png: bytes) -> None:
    headers = PNG | {ATTRIBUTES: "img_id=7; format=coco; score_threshold=0.9"}
    reply = client.post("/invocations", content=png, headers=headers)
    assert reply.status_code == 200, reply.text
    results = reply.json()
    assert results
    assert {result["image_id"] for result in results} == {7}
    assert all(isinstance(result["segmentation"]["counts"], str) for result in results)


def test_an_array_gets_the_same_reply(
    client: httpx.Client, png: bytes, expected: dict[str, Any]
) -> None:
    file = io.BytesIO()
    with PIL.Image.open(io.BytesIO(png)) as picture:
        np.save(file, np.asarray(picture.convert("RGB")))
    headers = {"Content-Type": "application/x-npy"}
    reply = client.post("/invocations", content=file.getvalue(), headers=headers)
    assert reply.status_code == 200, reply.text
    assert_is_the_golden_answer(reply.json(), expected)


def test_a_form_gets_the_same_reply(
    client: httpx.Client, png: bytes, expected: dict[str, Any]
) -> None:
    files = {"image": ("a.png", png, "image/png")}
    reply = client.post("/invocations", files=files, data={"score_threshold": "0.5"})
    assert reply.status_code == 200, reply.text
    assert reply.json()["img_id"] == "a.png"
    assert_is_the_golden_answer(reply.json(), expected)


def test_several_images_get_replies_in_order(
    client: httpx.Client, png: bytes, expected: dict[str, Any]
) -> None:
    bad = {"img_id": "b", "img_data": "aGVsbG8="}
    reply = client.post(
        "/invocations", json={"instances": [notebook(png), bad, notebook(png, img_id="c")]}
    )
    assert reply.status_code == 200, reply.text
    first, second, third = reply.json()["predictions"]
    assert_is_the_golden_answer(first, expected)
    assert second["error"]["code"] == "invalid_image"
    assert third == first | {"img_id": "c"}


def test_several_images_cannot_be_drawn(client: httpx.Client, png: bytes) -> None:
    body = {"instances": [notebook(png)], "format": "overlay"}
    assert failure(client.post("/invocations", json=body)) == (406, "not_acceptable")


def test_only_the_requested_classes_are_returned(
    client: httpx.Client, png: bytes, expected: dict[str, Any]
) -> None:
    name = CLASSES[expected["class_ids"][0] - 1]
    reply = client.post("/invocations", json=notebook(png, classes=[name]))
    found = [annotation["category_name"] for annotation in reply.json()["annotations"]]
    assert found == [name] * (expected["class_ids"] == expected["class_ids"][0]).sum()


def test_an_unknown_class_is_400(client: httpx.Client, png: bytes) -> None:
    headers = PNG | {ATTRIBUTES: "classes=cirle"}
    reply = client.post("/invocations", content=png, headers=headers)
    assert failure(reply) == (400, "invalid_request")
    assert "circle" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("coco", "application/json"),
        ("polygons", "application/json"),
        ("geojson", "application/geo+json"),
        ("labelme", "application/json"),
        ("yolo-seg", "text/plain"),
        ("cvat", "application/json"),
        ("labelstudio-brush", "application/json"),
        ("labelstudio-polygons", "application/json"),
        ("overlay", "image/png"),
        ("overlay-jpeg", "image/jpeg"),
        ("instance-map", "image/png"),
    ],
)
def test_every_format_can_be_written(
    name: str, content_type: str, client: httpx.Client, png: bytes
) -> None:
    reply = client.post("/invocations", content=png, headers=PNG | {ATTRIBUTES: f"format={name}"})
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].partition(";")[0] == content_type
    if content_type.startswith("image/"):
        with PIL.Image.open(io.BytesIO(reply.content)) as picture:
            picture.load()
    elif content_type.endswith("json"):
        assert reply.json()


@pytest.mark.parametrize("content_type", ["image/jpeg", "application/geo+json", "text/plain"])
def test_the_accept_header_chooses_the_format(
    content_type: str, client: httpx.Client, png: bytes
) -> None:
    reply = client.post("/invocations", content=png, headers=PNG | {"Accept": content_type})
    assert reply.status_code == 200
    assert reply.headers["content-type"].partition(";")[0] == content_type


def test_no_instances_is_an_empty_list(client: httpx.Client) -> None:
    reply = client.post(
        "/invocations", content=jpeg(64, 64, 0), headers={"Content-Type": "image/jpeg"}
    )
    assert reply.status_code == 200
    assert reply.json()["annotations"] == []


def failure(reply: httpx.Response) -> tuple[int, str]:
    body = reply.json()
    assert set(body["error"]) >= {"code", "message"}
    assert body["request_id"]
    return reply.status_code, body["error"]["code"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", JSON, 400, "invalid_request"),
        (b"{}", JSON, 400, "invalid_request"),
        (b'{"img_id": 1, "img_data": "%%%"}', JSON, 400, "invalid_request"),
        (b'{"img_id": 1, "img_data": "aGVsbG8="}', JSON, 422, "invalid_image"),
        (b"hello", PNG, 422, "invalid_image"),
        (b"", PNG, 422, "invalid_image"),
        (b"hello", {"Content-Type": "text/plain"}, 415, "unsupported_content_type"),
    ],
    ids=["half", "empty", "no base64", "no image", "text as png", "nothing as png", "text"],
)
def test_a_mistake_has_its_own_status(
    body: bytes, headers: dict[str, str], status: int, code: str, client: httpx.Client
) -> None:
    assert failure(client.post("/invocations", content=body, headers=headers)) == (status, code)


def test_an_invalid_value_is_named(client: httpx.Client, png: bytes) -> None:
    reply = client.post("/invocations", json=notebook(png, score_threshold=2))
    assert failure(reply) == (400, "invalid_request")
    assert "score_threshold" in reply.json()["error"]["message"]


def test_an_unknown_format_is_406(client: httpx.Client, png: bytes) -> None:
    reply = client.post("/invocations", content=png, headers=PNG | {"Accept": "image/gif"})
    assert failure(reply) == (406, "not_acceptable")


def test_a_body_that_is_too_large_is_413(client: httpx.Client) -> None:
    reply = client.post("/invocations", content=bytes(21 << 20), headers=PNG)
    assert failure(reply) == (413, "payload_too_large")


def test_the_next_request_after_one_that_was_too_large_is_answered(
    client: httpx.Client, png: bytes
) -> None:
    client.post("/invocations", content=bytes(21 << 20), headers=PNG)
    assert client.post("/invocations", content=png, headers=PNG).status_code == 200


def test_an_unknown_route_is_404(client: httpx.Client) -> None:
    assert failure(client.get("/nowhere"))[0] == 404


def test_invocations_accept_only_post(client: httpx.Client) -> None:
    assert failure(client.get("/invocations"))[0] == 405


def test_one_bad_image_does_not_affect_the_others(client: httpx.Client, png: bytes) -> None:
    bodies = [png if i % 4 else b"no picture" for i in range(16)]

    def post(body: bytes) -> int:
        return client.post("/invocations", content=body, headers=PNG).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(post, bodies))
    assert statuses == [200 if i % 4 else 422 for i in range(16)]


def test_replies_are_not_mixed_up(client: httpx.Client) -> None:
    """Pictures of different sizes at a time: each mask has its own picture's size."""
    pictures = sorted(GOLDEN.glob("*.png"))

    def sizes(path: Path) -> tuple[str, set[tuple[int, ...]]]:
        answer = client.post("/invocations", json=notebook(path.read_bytes(), img_id=path.name))
        found = answer.json()["annotations"]
        return answer.json()["img_id"], {tuple(a["segmentation"]["size"]) for a in found}

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(sizes, pictures * 2))
    for path, (name, found) in zip(pictures * 2, answers, strict=True):
        with PIL.Image.open(path) as picture:
            width, height = picture.size
        assert name == path.name
        assert found == {(height, width)}


def test_ping_answers_within_two_seconds_while_the_model_computes(
    client: httpx.Client, png: bytes
) -> None:
    with ThreadPoolExecutor(4) as pool:
        running = [
            pool.submit(client.post, "/invocations", content=png, headers=PNG) for _ in range(8)
        ]
        waits = []
        while not all(request.done() for request in running):
            start = time.monotonic()
            assert client.get("/ping").status_code == 200
            waits.append(time.monotonic() - start)
    assert max(waits) < 2
    assert {request.result().status_code for request in running} == {200}


def test_batch_transform_is_told_how_to_send(client: httpx.Client) -> None:
    parameters = client.get("/execution-parameters").json()
    assert parameters["BatchStrategy"] == "SINGLE_RECORD"
    assert parameters["MaxConcurrentTransforms"] >= 1
    assert parameters["MaxPayloadInMB"] >= 6


@pytest.fixture(scope="module")
def runtime(url: str) -> Iterator[Any]:
    runtime = boto3.client(
        "sagemaker-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",  # noqa: S106 (nobody checks it)
    )
    yield runtime
    runtime.close()


def test_boto3_is_a_client(runtime: Any, png: bytes, expected: dict[str, Any]) -> None:
    reply = runtime.invoke_endpoint(
        EndpointName="any", ContentType="application/json", Body=json.dumps(notebook(png))
    )
    assert_is_the_golden_answer(json.load(reply["Body"]), expected)


def test_boto3_sees_a_mistake_as_the_services_model_error(runtime: Any) -> None:
    with pytest.raises(runtime.exceptions.ModelError) as caught:
        runtime.invoke_endpoint(EndpointName="any", ContentType="image/png", Body=b"no image")
    said = caught.value.response
    assert said["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert said["OriginalStatusCode"] == 422
    assert json.loads(said["OriginalMessage"])["error"]["code"] == "invalid_image"
