"""`predict --ray` on two nodes: what dies at any time, and every image once in the end."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import boto3
import numpy as np
import pytest

pytest.importorskip("ray")
parquet = pytest.importorskip("pyarrow.parquet")

IMAGES = 120
NODES = Path(__file__).parent / "two_nodes.py"
PLUGIN = """
import os
import time
from pathlib import Path
from maskrcnn_server import hookimpl
from maskrcnn_plugin_kit.testing import FakeBackend

class Slow(FakeBackend):
    def load(self, config, /):
        model = super().load(config)
        predict = model.predict

        def slowly(images, options):
            if images[0][0, 0, 0] == 13:
                os._exit(1)
            Path(os.environ["AT_WORK"], str(os.getpid())).touch()
            time.sleep(0.12 * len(images))
            return predict(images, options)

        model.predict = slowly
        return model

@hookimpl
def register_backends(register):
    register(Slow())
"""
"""A backend that takes its time, and whose process ends with an image that begins with 13."""


@dataclass
class Nodes:
    """A cluster of two nodes, of one CPU each."""

    address: str
    process: subprocess.Popen[str]
    env: dict[str, str]
    model: Path
    at_work: Path
    """A folder with a file for each worker that has computed something."""

    def predict(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command."""
        command = [sys.executable, "-m", "maskrcnn_handlers", "predict", *arguments]
        command += ["--model", str(self.model), "--backend", "fake"]
        return subprocess.Popen(
            [*command, "--ray", self.address, "--workers", "2"],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self) -> None:
        """Kill the second node without grace."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("kill\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "killed\n"


pytestmark = pytest.mark.full


@pytest.fixture
def nodes(tmp_path: Path, install: Callable[..., dict[str, str]], aws: str) -> Iterator[Nodes]:
    """A cluster, in an account of S3 and with a model."""
    model, at_work = tmp_path / "model", tmp_path / "at_work"
    model.mkdir()
    at_work.mkdir()
    env = install(PLUGIN, PYTHONUNBUFFERED="1", AWS_ENDPOINT_URL=aws, AT_WORK=str(at_work))
    process = subprocess.Popen(
        [sys.executable, str(NODES)],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield Nodes(process.stdout.readline().strip(), process, env, model, at_work)
    finally:
        process.communicate()


@pytest.fixture
def photos(tmp_path: Path, encode: Callable[..., bytes]) -> Path:
    """A folder of images with one instance each."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(IMAGES):
        (folder / f"{i}.png").write_bytes(encode(pixels()))
    return folder


def pixels(first: int = 0) -> np.ndarray:
    array = np.zeros((8, 10, 3), np.uint8)
    array[2:5, 3:9, 0] = 255
    array[0, 0] = first
    return array


def wait_for_parts(process: subprocess.Popen[str], count: int) -> None:
    assert process.stdout is not None
    lines = (line for line in process.stdout if " images, " in line)
    assert len(list(islice(lines, count))) == count


def test_a_node_dies_and_no_row_is_lost(nodes: Nodes, photos: Path) -> None:
    s3 = boto3.client("s3")
    for path in photos.iterdir():
        s3.upload_file(str(path), "models", f"in/{path.name}")
    process = nodes.predict("s3://models/in", "--json", "s3://models/out/all.json")
    wait_for_parts(process, 3)
    while len(list(nodes.at_work.iterdir())) < 2:
        wait_for_parts(process, 1)
    nodes.kill()
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "a worker ended" in said
    rows = json.loads(s3.get_object(Bucket="models", Key="out/all.json")["Body"].read())
    assert len(rows) == len({row["image_id"] for row in rows}) == IMAGES


def test_the_driver_dies_and_is_run_again(nodes: Nodes, photos: Path, tmp_path: Path) -> None:
    """The cluster then is one node, with room for one of two workers."""
    nodes.kill()
    out = tmp_path / "out"
    process = nodes.predict(str(photos), "--parquet", str(out))
    wait_for_parts(process, 3)
    process.kill()
    process.communicate()
    assert len(list(out.glob("*.parquet"))) >= 3
    process = nodes.predict(str(photos), "--parquet", str(out))
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    skipped = int(said.rpartition(f" of {IMAGES} images were done already")[0].split()[-1])
    assert 0 < skipped < IMAGES
    table = parquet.read_table(out)
    names = table["picture"].to_pylist()
    assert len(names) == len(set(names)) == IMAGES
    assert table["results"].null_count == 0


@pytest.mark.exhaustive
def test_one_image_ends_each_worker_that_has_it(
    nodes: Nodes, photos: Path, tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    (photos / "13.png").write_bytes(encode(pixels(13)))
    (photos / "14.png").write_bytes(b"not an image")
    out = tmp_path / "out"
    process = nodes.predict(str(photos), "--parquet", str(out))
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert f"2 of {IMAGES} images failed" in errors
    assert "3 workers ended with this image" in said
    rows = parquet.read_table(out).to_pylist()
    assert len(rows) == len({row["picture"] for row in rows}) == IMAGES
    failed = {Path(row["picture"]).name: row["error"]["code"] for row in rows if row["error"]}
    assert failed == {"13.png": "backend_crashed", "14.png": "invalid_image"}
