"""Ray Serve: replicas that are killed under load lose no request of our client."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml

from maskrcnn_client import Client

pytest.importorskip("ray.serve")

pytestmark = pytest.mark.full
MANIFEST = Path(__file__).parents[3] / "build_tools/kubernetes/rayservice.yaml"
APP = Path(__file__).parent / "serve_app.py"
REQUESTS = 300
CLIENTS = 8
KILLS = 3
PLUGIN = """
import time
from maskrcnn_server import hookimpl
from maskrcnn_plugin_kit.testing import FakeBackend

class Slow(FakeBackend):
    def load(self, config, /):
        model = super().load(config)
        predict = model.predict
        model.predict = lambda *given: time.sleep(0.05) or predict(*given)
        return model

@hookimpl
def register_backends(register):
    register(Slow())
"""


@dataclass
class Served:
    """An application with two replicas."""

    process: subprocess.Popen[str]
    url: str

    def kill_replica(self, killed: set[int]) -> None:
        """Kill a replica without grace that is not among those, and add it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        pid = 0
        while pid in {0, *killed}:
            self.process.stdin.write("pid\n")
            self.process.stdin.flush()
            # Ray writes about dead processes there, too.
            lines = (line.strip() for line in self.process.stdout)
            pid = next(int(line) for line in lines if line.isdecimal())
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("serve")
    (folder / "model").mkdir()
    site = folder / "site"
    metadata = site / "stranger-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "stranger.py").write_text(PLUGIN)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[maskrcnn_server]\nstranger = stranger\n")
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, str(APP), str(folder / "model")],
        env={
            **os.environ,
            "PYTHONPATH": path,
            "MASKRCNN_MAX_WAITING": "16",
            "MASKRCNN_MAX_PAYLOAD_MB": "1",
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield Served(process, f"http://127.0.0.1:{process.stdout.readline().strip()}")
    finally:
        process.communicate()


@pytest.fixture
def image(encode: Callable[..., bytes]) -> bytes:
    pixels = np.zeros((8, 10, 3), np.uint8)
    pixels[2:5, 3:9, 0] = 255
    return encode(pixels)


def test_the_routes_are_those_of_the_server(served: Served, image: bytes) -> None:
    reply = httpx.get(f"{served.url}/ping", timeout=60)
    assert reply.status_code == 200
    assert "x-request-id" in reply.headers
    reply = httpx.post(
        f"{served.url}/invocations?",
        content=image,
        headers={"content-type": "image/png"},
        timeout=60,
    )
    assert reply.status_code == 200
    assert len(reply.json()["annotations"]) == 1
    reply = httpx.post(
        f"{served.url}/invocations", content=b"?", headers={"content-type": "image/png"}
    )
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid_image")
    assert httpx.get(f"{served.url}/absent").status_code == 404


def test_a_body_that_is_too_large_is_refused(served: Served) -> None:
    body = b"x" * (2 << 20)
    reply = httpx.post(f"{served.url}/invocations", content=body, timeout=60)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "payload_too_large")


def test_the_manifest_has_arguments_of_the_application() -> None:
    from maskrcnn_ray.serve import Arguments

    manifest = yaml.safe_load(MANIFEST.read_text())
    (application,) = yaml.safe_load(manifest["spec"]["serveConfigV2"])["applications"]
    assert application["import_path"] == "maskrcnn_ray.serve:app"
    arguments = Arguments.model_validate(application["args"])
    workers = manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    (container,) = workers["template"]["spec"]["containers"]
    cpus = int(container["resources"]["requests"]["cpu"]) * workers["replicas"]
    assert arguments.max_replicas * arguments.cpus <= cpus


def test_killed_replicas_lose_no_request(served: Served, image: bytes) -> None:
    done = 0
    lock = threading.Lock()
    killed: set[int] = set()
    statuses: set[int] = set()
    is_over = threading.Event()

    def watch() -> None:
        """A client that does not ask again sees what replicas that died are answered by."""
        with httpx.Client(timeout=60) as client:
            while not is_over.is_set():
                reply = client.post(
                    f"{served.url}/invocations",
                    content=image,
                    headers={"content-type": "image/png"},
                )
                statuses.add(reply.status_code)
                if reply.status_code == 503:
                    assert reply.headers["retry-after"] == "1"

    def ask(client: Client) -> int:
        nonlocal done
        found = client.predict(image)
        with lock:
            done += 1
        return len(found)

    with (
        Client(served.url, retry_s=120, timeout_s=60) as client,
        ThreadPoolExecutor(CLIENTS + 2) as pool,
    ):
        watchers = [pool.submit(watch) for _ in range(2)]
        try:
            replies = [pool.submit(ask, client) for _ in range(REQUESTS)]
            for kill in range(KILLS):
                while done < (kill + 1) * REQUESTS // (KILLS + 1):
                    time.sleep(0.01)
                served.kill_replica(killed)
            assert [reply.result() for reply in replies] == [1] * REQUESTS
        finally:
            is_over.set()
        for watcher in watchers:
            watcher.result()
    assert len(killed) == KILLS
    assert statuses == {200, 503}
