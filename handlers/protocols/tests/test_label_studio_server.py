"""The real Label Studio, with this server as its ML backend.

Its environment takes 20 s and 0.8 GB, its first start 30 s of computing: too long for every run.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from label_studio_converter import brush
from real_clients import client_environment, own_variables

if TYPE_CHECKING:
    from protocol_fixtures import Contract, Served

    from maskrcnn_handlers.service import Service

TOKEN = "0123456789abcdef0123456789abcdef01234567"  # noqa: S105 (of a server that lives for a test)
CONFIG = """
<View>
  <Image name="photo" value="$image"/>
  <BrushLabels name="brush" toName="photo">
    <Label value="red"/><Label value="green"/><Label value="blue"/>
  </BrushLabels>
  <RectangleLabels name="box" toName="photo"><Label value="red"/></RectangleLabels>
</View>
"""
MIGRATION_S = 900
"""Seconds in which Label Studio makes its database."""

WITH_ITS_SDK = """
import sys
sys.path.append(sys.argv.pop(1))
from maskrcnn_handlers.cli import main
main()
"""
"""Our command line, with the modules of another environment behind its own."""

pytestmark = pytest.mark.exhaustive


@pytest.fixture(scope="module")
def folder() -> Path:
    """Label Studio's virtual environment."""
    return client_environment("label_studio")


@pytest.fixture
def annotate(folder: Path) -> Callable[..., str]:
    """Runs `annotate label-studio` with Label Studio's SDK, and returns what it prints."""
    (packages,) = folder.glob("lib/python*/site-packages")

    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", WITH_ITS_SDK, str(packages), "annotate", "label-studio"]
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def tool(folder: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a new Label Studio, which may ask servers of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    variables = {
        "HOME": str(tmp_path),
        "LABEL_STUDIO_BASE_DATA_DIR": str(tmp_path / "data"),
        "LABEL_STUDIO_HOST": url,
        "USE_DEFAULT_BANNED_SUBNETS": "false",
        "SENTRY_DSN": "",
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
    }
    options = ("--no-browser", "--enable-legacy-api-token", "--port", str(port))
    user = (
        "--username",
        "a@example.com",
        "--password",
        "password-of-a-test",
        "--user-token",
        TOKEN,
    )
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [folder / "bin/label-studio", "start", *options, *user],
            env={**own_variables(), **variables},
            stdout=log,
            stderr=log,
        )
    with httpx.Client(
        base_url=url, headers={"Authorization": f"Token {TOKEN}"}, timeout=60
    ) as client:
        end = time.monotonic() + MIGRATION_S
        while True:
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            try:
                if client.get("/api/projects").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(1)
        yield client
    process.terminate()
    process.wait(30)


def test_predictions_are_stored_with_the_notebooks_masks(
    tool: httpx.Client,
    annotate: Callable[..., str],
    serve: Callable[..., Served],
    service: Service,
    picture: bytes,
    notebook: Contract,
) -> None:
    served = serve(
        service,
        PROTOCOLS_IMAGE_ADDRESSES=str(tool.base_url),
        PROTOCOLS_PRIVATE_ADDRESSES="true",
    )
    made = tool.post("/api/projects", json={"title": "Street", "label_config": CONFIG})
    project = made.raise_for_status().json()["id"]
    for name in ("a.png", "b.png"):
        files = {"file": (name, picture, "image/png")}
        tool.post(f"/api/projects/{project}/import", files=files).raise_for_status()
    backend = {"url": f"{served.url}/label-studio", "project": project, "title": "maskrcnn"}
    connected = tool.post("/api/ml", json=backend)
    assert connected.status_code == 201, connected.text
    everything = {"selectedItems": {"all": True, "excluded": []}}
    options = ["--project", str(project), "--token", TOKEN]
    options += ["--url", str(tool.base_url).rstrip("/"), "--server", served.url]
    for expected in (2, 0):
        told = annotate(*options)
        assert f"{expected} tasks have a new prediction of colours; 0 failed" in told
    for task in tool.get("/api/tasks", params={"project": project, "fields": "all"}).json()[
        "tasks"
    ]:
        (prediction,) = task["predictions"]
        tool.delete(f"/api/predictions/{prediction['id']}").raise_for_status()
    action = {"id": "retrieve_tasks_predictions", "project": project}
    reply = tool.post("/api/dm/actions", params=action, json=everything)
    assert reply.status_code == 200, reply.text
    tasks = tool.get("/api/tasks", params={"project": project, "fields": "all"}).json()["tasks"]
    assert len(tasks) == 2
    for task in tasks:
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == "colours"
        assert prediction["score"] == pytest.approx(np.mean(notebook.scores))
        regions = prediction["result"]
        brushes = [one["value"] for one in regions if one["type"] == "brushlabels"]
        assert [one["brushlabels"] for one in brushes] == [["red"], ["green"], ["blue"]]
        for one, mask in zip(brushes, notebook.masks, strict=True):
            pixels = brush.decode_rle(one["rle"]).reshape(60, 80, 4)[:, :, 3] > 0
            assert np.logical_and(pixels, mask).sum() / np.logical_or(pixels, mask).sum() >= 0.99
        assert [one["from_name"] for one in regions if one["type"] == "rectanglelabels"] == ["box"]
