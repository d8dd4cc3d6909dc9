"""roboflow's server, asked by inference-sdk."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from real_clients import client_environment, own_variables

if TYPE_CHECKING:
    from protocol_fixtures import Contract, Served

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(sys.version_info >= (3, 14), reason="inference-sdk excludes Python 3.14"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

Ask = Callable[..., Any]
MODEL = "colours/1"


@pytest.fixture(scope="module")
def conversation() -> Iterator[subprocess.Popen[str]]:
    """The client in an environment of its own, as it waits for requests."""
    python = client_environment("roboflow") / "bin/python"
    script = Path(__file__).with_name("ask_roboflow.py")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [python, script], text=True, env=own_variables(), stdin=pipe, stdout=pipe
    ) as client:
        yield client
        assert client.stdin
        client.stdin.close()


@pytest.fixture
def ask(conversation: subprocess.Popen[str], served: Served) -> Ask:
    """Calls a method of the client, which asks the server."""

    def call(method: str, *arguments: Any, mode: str = "v1", **configuration: Any) -> Any:
        request = {"mode": mode, "configuration": configuration, "arguments": arguments}
        assert conversation.stdin
        assert conversation.stdout
        conversation.stdin.write(json.dumps({"url": served.url, "call": method, **request}) + "\n")
        conversation.stdin.flush()
        return json.loads(conversation.stdout.readline())

    return call


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
    ask: Ask, file: Path, notebook: Contract, mode: str
) -> None:
    found = ask("infer", str(file), MODEL, mode=mode)
    assert found["image"] == {"width": 80, "height": 60}
    assert [one["class"] for one in found["predictions"]] == notebook.names
    assert np.array_equal(boxes(found), notebook.boxes)
    for one, mask in zip(found["predictions"], notebook.masks, strict=True):
        assert np.array_equal(filled(one["points"]), mask)


@pytest.mark.parametrize("mode", ["v0", "v1"])
def test_run_lengths_are_the_notebooks_masks(
    ask: Ask, file: Path, notebook: Contract, mode: str
) -> None:
    options = {"response_mask_format": "rle", "confidence_threshold": 0.85}
    found = ask("infer", str(file), MODEL, mode=mode, **options)["predictions"]
    masks = [coco_mask.decode(one["rle"]).astype(bool) for one in found]
    assert np.array_equal(np.stack(masks), notebook.masks[:2])


def test_several_images_are_a_list(ask: Ask, file: Path) -> None:
    options = {"max_batch_size": 2, "class_filter": ["green"]}
    found = ask("infer", [str(file), str(file)], MODEL, **options)
    assert [[one["class"] for one in each["predictions"]] for each in found] == [["green"]] * 2


def test_the_server_is_told_of(ask: Ask) -> None:
    assert ask("get_server_info")["name"] == "maskrcnn-server"
    assert ask("get_model_description", MODEL)["task_type"] == "instance-segmentation"
