"""TorchServe as a whole: Java, its worker, and what stands before them, over real connections."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from loopback import own_host

from maskrcnn_server import settings as environment
from maskrcnn_torchserve import files, process
from tests.contract.conftest import IMPOSSIBLE

if TYPE_CHECKING:
    from server_fixtures import Install, Server

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(shutil.which("java") is None, reason="TorchServe needs Java"),
]

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
PNG = {"Content-Type": "image/png"}

SLOW = """
import os, time
from pathlib import Path
from maskrcnn_server import hookimpl
from maskrcnn_plugin_kit.testing import FakeBackend
from maskrcnn_server.keys import Keys

class Slow(FakeBackend):
    name = "slow"
    keys = Keys(options={"load_s", "predict_s", "broken", "batches"})

    def load(self, config):
        time.sleep(float(os.environ.get("SLOW_LOAD_S", "0")))
        if "SLOW_BROKEN" in os.environ:
            raise RuntimeError("no such layer")
        model = super().load(config)
        predict = model.predict

        def slowly(images, options):
            if images[0].shape == (8, 10, 3):  # a test's, and not the one that warms up
                with Path(os.environ["SLOW_BATCHES"]).open("a") as file:
                    print(len(images), file=file)
                time.sleep(float(os.environ.get("SLOW_PREDICT_S", "0")))
            return predict(images, options)

        model.predict = slowly
        return model

@hookimpl
def register_backends(register):
    register(Slow())
"""

Slow = Callable[..., "Server"]


@pytest.fixture
def batches(tmp_path: Path) -> Callable[[], list[int]]:
    """How many pictures the model was given in each call."""
    return lambda: [int(line) for line in (tmp_path / "batches").read_text().split()]


@pytest.fixture
def slow(start: Callable[..., Server], install: Install, tmp_path: Path) -> Iterator[Slow]:
    """Starts TorchServe without TensorFlow, with a model that may take its time."""
    started: list[Server] = []

    def server(*options: str, **variables: str) -> Server:
        environ = install(SLOW, SLOW_BATCHES=str(tmp_path / "batches"), **variables)
        options = ("--model", str(tmp_path), "--backend", "slow", *options)
        started.append(start(tmp_path, *options, env=environ, command="torchserve"))
        return started[-1]

    yield server
    for one in started:
        one.end()


def post(server: Server, data: bytes) -> httpx.Response:
    return httpx.post(f"{server.url}/invocations", content=data, headers=PNG, timeout=60)


def family(server: Server) -> list[psutil.Process]:
    """The processes of a server: itself, TorchServe's Java, and its worker."""
    parent = psutil.Process(server.process.pid)
    return [parent, *parent.children(recursive=True)]


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive


@pytest.fixture(scope="module")
def demo(
    start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The model that comes along; when the last test is done with it, it ends as it should."""
    options = ("--model", str(DEMO), "--backend", "tensorpack", "--batch-size", "4")
    server = start(tmp_path_factory.mktemp("demo"), *options, command="torchserve")
    server.wait_for(200)
    processes = family(server)
    assert len(processes) >= 3
    yield server
    code, seconds = server.end()
    assert code == 0
    assert seconds < 10
    assert_gone(processes)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """TorchServe as it is, with the same archive and settings, and nothing before it."""
    folder = tmp_path_factory.mktemp("alone")
    url = f"http://{own_host()}:8080"
    status = folder / "status"
    config = {"model": str(DEMO), "backend": "tensorpack"}
    config |= {"directory": str(folder), "status": str(status)}
    files.write(folder, environment.read(), files.Options(batch_size=4), config, stand_in=True)
    properties = folder / "config.properties"
    socket_address = f"unix:{files.inference_socket(folder)}"
    properties.write_text(properties.read_text().replace(socket_address, url))
    with (folder / "log").open("wb") as log:
        java = subprocess.Popen(process.command(folder), cwd=folder, stdout=log, stderr=log)
    try:
        for _ in range(600):
            if status.exists():
                break
            time.sleep(0.1)
        yield url
    finally:
        java.terminate()
        java.wait(20)


def assert_contract_holds(url: str, name: str, results: Path) -> None:
    """All of the contract's tests pass but those that are listed as impossible, which fail."""
    variables = {"URL": url, "NAME": name, "RESULTS": str(results)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/contract"],
        cwd=ROOT,
        env={**os.environ, **{f"CONTRACT_{key}": value for key, value in variables.items()}},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    outcomes = json.loads(results.read_text())["outcomes"]
    failed = {test.partition("[")[0] for test, said in outcomes.items() if said != "passed"}
    assert failed == set(IMPOSSIBLE[name])
    assert len(outcomes) - len(failed) > 20


def test_the_contract_holds(demo: Server, tmp_path: Path) -> None:
    assert_contract_holds(demo.url, "torchserve", tmp_path / "results.json")


def test_what_torchserve_alone_cannot_do_is_what_is_listed(alone: str, tmp_path: Path) -> None:
    assert_contract_holds(alone, "torchserve-alone", tmp_path / "results.json")


@pytest.mark.parametrize("test", IMPOSSIBLE["torchserve-alone"])
def test_what_torchserve_cannot_do_is_documented(test: str) -> None:
    page = (ROOT / "docs/torchserve.md").read_text()
    by_command = "no" if test in IMPOSSIBLE["torchserve"] else "yes"
    sentence = test.removeprefix("test_").replace("_", " ")
    assert f"| {sentence} | {by_command} | " in page


def test_ping_is_503_until_an_inference_went_through(demo: Server) -> None:
    assert demo.statuses[-1] == 200
    assert set(demo.statuses[:-1]) == {503}
    assert httpx.get(f"{demo.url}/ping").json()["backend"] == "tensorpack"


def test_other_models_are_not_found(demo: Server, png: bytes) -> None:
    reply = httpx.post(f"{demo.url}/models/other/invoke", content=png, headers=PNG)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")


def test_requests_that_come_together_reach_the_backend_together(
    slow: Slow, batches: Callable[[], list[int]], pool: ThreadPoolExecutor, png: bytes
) -> None:
    server = slow("--batch-size", "4", "--batch-delay", "1000")
    server.wait_for(200)
    replies = list(pool.map(post, [server] * 8, [png] * 8))
    assert [reply.status_code for reply in replies] == [200] * 8
    assert batches() == [4, 4]


def test_one_by_one_is_the_default(
    slow: Slow, batches: Callable[[], list[int]], pool: ThreadPoolExecutor, png: bytes
) -> None:
    server = slow()
    server.wait_for(200)
    assert {reply.status_code for reply in pool.map(post, [server] * 4, [png] * 4)} == {200}
    assert batches() == [1] * 4


def test_of_twenty_requests_in_flight_a_signal_loses_none(
    slow: Slow, pool: ThreadPoolExecutor, png: bytes
) -> None:
    server = slow("--batch-size", "4", SLOW_PREDICT_S="1")
    server.wait_for(200)
    processes = family(server)
    requests = [pool.submit(post, server, png) for _ in range(20)]
    time.sleep(1.5)
    assert not all(request.done() for request in requests)
    code, seconds = server.end()
    assert [request.result().status_code for request in requests] == [200] * 20
    assert code == 0, server.log.read_text()
    assert seconds < 25
    assert_gone(processes)
    assert "Traceback" not in server.log.read_text()


def test_a_request_that_outlasts_the_drain_does_not_keep_the_server(
    slow: Slow, pool: ThreadPoolExecutor, png: bytes
) -> None:
    server = slow(SLOW_PREDICT_S="60", MASKRCNN_DRAIN_TIMEOUT="1")
    server.wait_for(200)
    processes = family(server)
    request = pool.submit(post, server, png)
    time.sleep(0.5)
    code, seconds = server.end()
    assert request.result().status_code == 503
    assert code == 0, server.log.read_text()
    assert seconds < 12
    assert_gone(processes)
    assert "Traceback" not in server.log.read_text()


def test_a_signal_while_the_model_loads_ends_the_server(slow: Slow) -> None:
    server = slow(SLOW_LOAD_S="60")
    server.wait_for(503)
    for _ in range(100):
        if len(family(server)) > 2:
            break
        time.sleep(0.1)
    processes = family(server)
    code, seconds = server.end()
    assert code == 0, server.log.read_text()
    assert seconds < 12
    assert_gone(processes)


def test_a_server_that_is_killed_leaves_nothing_behind(slow: Slow) -> None:
    server = slow()
    server.wait_for(200)
    processes = family(server)
    server.end(signal.SIGKILL)
    assert_gone(processes)


def test_who_waits_for_too_long_or_finds_no_room_is_told(
    slow: Slow, pool: ThreadPoolExecutor, png: bytes
) -> None:
    server = slow(SLOW_PREDICT_S="3", MASKRCNN_MAX_WAITING="3", MASKRCNN_TIMEOUT="4.5")
    server.wait_for(200)
    replies = list(pool.map(post, [server] * 6, [png] * 6))
    said: dict[int, list[Any]] = {}
    for reply in replies:
        said.setdefault(reply.status_code, []).append(reply)
    assert {status: len(some) for status, some in said.items()} == {200: 2, 429: 2, 504: 2}
    assert said[429][0].headers["retry-after"] == "1"
    assert said[429][0].json()["error"]["code"] == "queue_full"
    assert said[504][0].json()["error"]["code"] == "deadline_exceeded"


def test_a_worker_that_dies_is_replaced(slow: Slow, png: bytes) -> None:
    server = slow()
    server.wait_for(200)
    (worker,) = [p for p in family(server) if "model_service_worker.py" in " ".join(p.cmdline())]
    worker.kill()
    for _ in range(60):
        reply = post(server, png)
        if reply.status_code == 200:
            break
        assert reply.json()["error"]["code"] == "backend_failed"
        time.sleep(0.5)
    assert reply.status_code == 200, server.log.read_text()


def test_a_model_that_does_not_load_is_one_error_and_exit_code_1(slow: Slow) -> None:
    server = slow(SLOW_BROKEN="yes")
    assert server.process.wait(60) == 1
    said = server.log.read_text().splitlines()[-1]
    assert re.match(r"error \(invalid_model\): backend slow .*no such layer", said)


def test_several_models_are_refused(slow: Slow) -> None:
    server = slow(MASKRCNN_MULTI_MODEL="true")
    assert server.process.wait(60) == 1
    assert "error (invalid_setting): MASKRCNN_MULTI_MODEL" in server.log.read_text()
