"""roboflow's server, asked by inference-sdk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

if TYPE_CHECKING:
    from protocol_fixtures import Contract, Served

sdk = pytest.importorskip("inference_sdk")

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning",
    "ignore::UserWarning",
    "ignore:This client sends",
)


@pytest.fixture
def file(tmp_path: Path, picture: bytes) -> Path:
    """The picture in a file, which the client sends as it is; it makes JPEG of pixels."""
    path = tmp_path / "a.png"
    path.write_bytes(picture)
    return path


def boxes(found: dict[str, Any]) -> NDArray[np.float64]:
    centres = np.array(
        [[one[k] for k in ("x", "y", "width", "height")] for one in found["predictions"]]
    )
    half = centres[:, 2:] / 2
    corners: NDArray[np.float64] = np.c_[centres[:, :2] - half, centres[:, :2] + half]
    return corners


def filled(points: list[dict[str, float]]) -> NDArray[np.bool_]:
    """The pixels whose centres are inside."""
    image = PIL.Image.new("1", (800, 600))
    corners = [(10 * one["x"], 10 * one["y"]) for one in points]
    PIL.ImageDraw.Draw(image).polygon(corners, fill=1)
    return np.asarray(image)[5::10, 5::10]


@pytest.mark.parametrize("mode", ["v0", "v1"])
def test_outlines_are_the_notebooks_masks(
    served: Served, file: Path, notebook: Contract, mode: str
) -> None:
    client = sdk.InferenceHTTPClient(api_url=served.url, api_key="any")
    client.select_api_v0() if mode == "v0" else client.select_api_v1()
    found = client.infer(str(file), model_id="colours/1")
    assert found["image"] == {"width": 80, "height": 60}
    assert [one["class"] for one in found["predictions"]] == notebook.names
    assert np.array_equal(boxes(found), notebook.boxes)
    for one, mask in zip(found["predictions"], notebook.masks, strict=True):
        assert np.array_equal(filled(one["points"]), mask)


def test_run_lengths_are_the_notebooks_masks(
    served: Served, file: Path, notebook: Contract
) -> None:
    client = sdk.InferenceHTTPClient(api_url=served.url, api_key="any")
    client.configure(
        sdk.InferenceConfiguration(response_mask_format="rle", confidence_threshold=0.85)
    )
    for mode in (client.select_api_v0, client.select_api_v1):
        mode()
        found = client.infer(str(file), model_id="colours/1")["predictions"]
        masks = [coco_mask.decode(one["rle"]).astype(bool) for one in found]
        assert np.array_equal(np.stack(masks), notebook.masks[:2])


def test_several_images_are_a_list(served: Served, file: Path) -> None:
    client = sdk.InferenceHTTPClient(api_url=served.url, api_key="any")
    client.select_api_v1()
    client.configure(sdk.InferenceConfiguration(max_batch_size=2, class_filter=["green"]))
    found = client.infer([str(file), str(file)], model_id="colours/1")
    assert [[one["class"] for one in each["predictions"]] for each in found] == [["green"]] * 2


def test_the_server_is_told_of(served: Served) -> None:
    client = sdk.InferenceHTTPClient(api_url=served.url, api_key="any")
    assert client.get_server_info().name == "maskrcnn-server"
    assert client.get_model_description("colours/1").task_type == "instance-segmentation"


@pytest.mark.parametrize(
    ("path", "asked", "status", "said"),
    [
        ("/other/1", b"aaaa", 404, "no model other"),
        ("/colours/2", b"aaaa", 404, "no version"),
        ("/colours/1", b"%", 400, "not base64"),
        ("/colours/1?confidence=x", b"aaaa", 400, "are numbers"),
        ("/infer/instance_segmentation", b"{}", 400, "image"),
        (
            "/infer/instance_segmentation",
            b'{"model_id": "colours/1", "image": {"type": "url", "value": "http://x"}}',
            400,
            "image",
        ),
    ],
)
def test_errors_have_the_protocols_form(
    served: Served, path: str, asked: bytes, status: int, said: str
) -> None:
    reply = httpx.post(served.url + path, content=asked)
    assert reply.status_code == status
    assert said in reply.json()["message"]
