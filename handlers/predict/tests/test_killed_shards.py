"""Shards that are killed at any time, and joined in the end: every image once."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest

IMAGES = 60
SHARDS = 3
KILLS = 4
"""Number of times that each shard is killed."""
PLUGIN = """
import time
from maskrcnn_server import hookimpl
from maskrcnn_plugin_kit.testing import FakeBackend
from maskrcnn_predict import remote_journal

remote_journal.MAX_LINES = 2

class Slow(FakeBackend):
    def load(self, config, /):
        model = super().load(config)
        predict = model.predict
        model.predict = lambda *given: time.sleep(0.02) or predict(*given)
        return model

@hookimpl
def register_backends(register):
    register(Slow())
"""


@pytest.mark.full
@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("is_remote", [False, True], ids=["local", "s3"])
def test_every_image_is_there_once_whatever_is_killed(
    tmp_path: Path,
    install: Callable[..., dict[str, str]],
    encode: Callable[..., bytes],
    is_remote: bool,
) -> None:
    s3 = boto3.client("s3")
    model, photos = tmp_path / "model", tmp_path / "photos"
    model.mkdir()
    photos.mkdir()
    pixels = np.zeros((8, 10, 3), np.uint8)
    pixels[2:5, 3:9, 0] = 255
    for i in range(IMAGES):
        (photos / f"{i}.png").write_bytes(encode(pixels))
        s3.upload_file(str(photos / f"{i}.png"), "models", f"in/{i}.png")
    source = "s3://models/in" if is_remote else str(photos)
    target = "s3://models/out/all.json" if is_remote else str(tmp_path / "all.json")
    # The account of the tests is in the environment.
    env = install(PLUGIN, PYTHONUNBUFFERED="1")
    command = [sys.executable, "-m", "maskrcnn_handlers", "predict", source, "--json", target]
    command += ["--model", str(model), "--backend", "fake", "--concurrency", "2"]

    def started(*options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, *options], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def joined() -> tuple[int, str]:
        process = started("--join")
        _, said = process.communicate(timeout=60)
        return process.returncode, said

    assert "no parts" in joined()[1]
    killed = 0
    for index in range(SHARDS):
        for kill in range(KILLS):
            process = started("--shard", f"{index}/{SHARDS}")
            assert process.stdout is not None
            lines = (line for line in process.stdout if ".png: 1 instances" in line)
            next(islice(lines, kill, None), None)
            # Between two lines, or in one: 0 to 15 ms later.
            time.sleep(0.005 * kill)
            process.kill()
            process.communicate()
            killed += process.returncode == -signal.SIGKILL
        if index == 0:
            assert "2 of 3 shards have not begun: 1, 2" in joined()[1]
    assert killed == SHARDS * KILLS, "none had come to its end"
    code, said = joined()
    assert code == 1
    assert "are not done: run their shards again" in said
    skipped = 0
    for index in range(SHARDS):
        process = started("--shard", f"{index}/{SHARDS}")
        out, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        skipped += sum(int(line.split()[0]) for line in out.splitlines() if "done already" in line)
    assert skipped >= SHARDS, "what was written before the kill is not done again"
    assert joined() == (0, "")
    if is_remote:
        s3.download_file("models", "out/all.json", str(tmp_path / "all.json"))
    rows: list[dict[str, Any]] = json.loads((tmp_path / "all.json").read_text())
    assert len(rows) == len({row["image_id"] for row in rows}) == IMAGES
