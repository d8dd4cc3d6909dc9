"""How a server ends: on a signal in each of its states, and when it cannot start.

The model needs no framework, and takes as long as the test says.
"""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import httpx
import pytest

if TYPE_CHECKING:
    from server_fixtures import Install, Server

Post: TypeAlias = "Callable[[Server, int], list[Future[int]]]"

PNG = {"Content-Type": "image/png"}
INSIDE = re.compile(r"^maskrcnn_requests_(?:waiting|in_flight)\{.*\} (\d+)", re.MULTILINE)
PROMPT_S = 25
"""Time within which a server ends, on a busy machine, too: SageMaker kills after 30 s."""

SLOW = """
import os, time
from maskrcnn_server import hookimpl
from maskrcnn_plugin_kit.testing import FakeBackend
from maskrcnn_server.keys import Keys

class Slow(FakeBackend):
    name = "slow"
    keys = Keys(options={"load_s", "predict_s"})

    def load(self, config):
        time.sleep(float(os.environ.get("SLOW_LOAD_S", "0")))
        model = super().load(config)
        predict = model.predict

        def slowly(images, options):
            if images[0].shape[0] < 100:  # not the one that warms up
                time.sleep(float(os.environ.get("SLOW_PREDICT_S", "0")))
            return predict(images, options)

        model.predict = slowly
        return model

@hookimpl
def register_backends(register):
    register(Slow())
"""


@pytest.fixture
def slow(start: Callable[..., Server], install: Install, tmp_path: Path) -> Callable[..., Server]:
    """Starts a server without TensorFlow, whose model may take its time."""

    def server(port: int = 0, **variables: str) -> Server:
        options = ("--model", str(tmp_path), "--backend", "slow")
        return start(tmp_path, *options, env=install(SLOW, **variables), port=port)

    return server


@pytest.fixture(scope="module")
def connecting() -> Iterator[httpx.Client]:
    """A new connection for each request. One client: each reads all certificates."""
    with httpx.Client(timeout=60, headers={"Connection": "close"}) as connecting:
        yield connecting


@pytest.fixture
def post(connecting: httpx.Client, pool: ThreadPoolExecutor, png: bytes) -> Post:
    """Sends images, and returns when all of them are in the server, or answered."""

    def posted(server: Server, count: int) -> list[Future[int]]:
        def status() -> int:
            return connecting.post(
                f"{server.url}/invocations", content=png, headers=PNG
            ).status_code

        requests = [pool.submit(status) for _ in range(count)]
        end = time.monotonic() + PROMPT_S
        arrived = 0
        while arrived < count:
            assert time.monotonic() < end
            inside = map(int, INSIDE.findall(connecting.get(f"{server.url}/metrics").text))
            arrived = sum(inside) + sum(request.done() for request in requests)
            time.sleep(0.02)
        assert not all(request.done() for request in requests)
        return requests

    return posted


def test_a_signal_while_requests_run_lets_them_finish(
    slow: Callable[..., Server], post: Post
) -> None:
    server = slow(SLOW_PREDICT_S="2")
    server.wait_for(200)
    requests = post(server, 2)
    code, seconds = server.end()
    assert [request.result() for request in requests] == [200, 200]
    assert code == 0, server.log.read_text()
    assert seconds < 25


def test_of_twenty_requests_in_flight_a_signal_loses_none(
    slow: Callable[..., Server], post: Post
) -> None:
    server = slow(SLOW_PREDICT_S="0.4")
    server.wait_for(200)
    requests = post(server, 20)
    code, seconds = server.end()
    assert [request.result() for request in requests] == [200] * 20
    assert code == 0, server.log.read_text()
    assert seconds < 25


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_a_signal_while_idle_ends_the_server(
    slow: Callable[..., Server], number: signal.Signals
) -> None:
    server = slow()
    server.wait_for(200)
    code, seconds = server.end(number)
    assert code == 0, server.log.read_text()
    assert seconds < PROMPT_S


def test_a_signal_while_the_model_loads_ends_the_server(slow: Callable[..., Server]) -> None:
    server = slow(SLOW_LOAD_S="60")
    server.wait_for(503)
    code, seconds = server.end()
    assert code == 0, server.log.read_text()
    assert seconds < PROMPT_S


def test_requests_that_wait_do_not_outlast_the_drain_timeout(
    slow: Callable[..., Server], post: Post
) -> None:
    """SageMaker kills after 30 s: what still waits is told before that it will not run."""
    server = slow(SLOW_PREDICT_S="2", MASKRCNN_DRAIN_TIMEOUT="3")
    server.wait_for(200)
    requests = post(server, 8)
    code, seconds = server.end()
    statuses = [request.result() for request in requests]
    assert seconds < PROMPT_S, (seconds, statuses)
    assert code == 0
    assert statuses.count(200) >= 2
    assert set(statuses) == {200, 503}
    assert "Traceback" not in server.log.read_text()


def test_a_request_that_outlasts_the_drain_does_not_keep_the_server(
    slow: Callable[..., Server], post: Post
) -> None:
    server = slow(SLOW_PREDICT_S="60", MASKRCNN_DRAIN_TIMEOUT="1")
    server.wait_for(200)
    (request,) = post(server, 1)
    code, seconds = server.end()
    assert request.result() == 503
    assert code == 0, server.log.read_text()
    assert seconds < PROMPT_S
    assert "Traceback" not in server.log.read_text()


def test_a_client_that_never_finishes_does_not_keep_the_server(
    slow: Callable[..., Server],
) -> None:
    server = slow(MASKRCNN_DRAIN_TIMEOUT="1")
    server.wait_for(200)
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as client:
        client.sendall(b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{")
        time.sleep(0.2)
        code, seconds = server.end()
    assert code == 0, server.log.read_text()
    assert seconds < PROMPT_S
    assert "Traceback" not in server.log.read_text()


def test_a_client_that_hangs_up_is_not_logged_as_a_fault(slow: Callable[..., Server]) -> None:
    server = slow()
    server.wait_for(200)
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as client:
        client.sendall(b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{")
        time.sleep(0.2)
    time.sleep(0.2)
    code, _ = server.end()
    assert code == 0
    assert "Traceback" not in server.log.read_text()


def exchanged(server: Server, request: bytes, pause_s: float = 0) -> bytes:
    """The reply to a request on a new connection, sent in two parts; empty: it was refused."""
    port = int(server.url.rpartition(":")[2])
    try:
        client = socket.create_connection(("127.0.0.1", port), timeout=30)
    except ConnectionRefusedError:
        return b""
    with client, client.makefile("rb") as reply:
        client.sendall(request[:20])
        time.sleep(pause_s)
        client.sendall(request[20:])
        return reply.read()


@pytest.mark.parametrize("isolation", ["none", pytest.param("process", marks=pytest.mark.full)])
@pytest.mark.parametrize("delay_s", ["0", "0.5"])
def test_no_request_on_a_new_connection_is_lost(
    slow: Callable[..., Server],
    pool: ThreadPoolExecutor,
    png: bytes,
    isolation: str,
    delay_s: str,
) -> None:
    server = slow(MASKRCNN_SHUTDOWN_DELAY=delay_s, MASKRCNN_ISOLATION=isolation)
    server.wait_for(200)
    head = f"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: {len(png)}\r\n"
    request = f"{head}Content-Type: image/png\r\nConnection: close\r\n\r\n".encode() + png

    def ask() -> list[bytes]:
        replies: list[bytes] = []
        while not replies or replies[-1]:
            replies.append(exchanged(server, request))
        return replies

    asking = [pool.submit(ask) for _ in range(8)]
    time.sleep(0.5)
    code, _ = server.end()
    statuses = {reply[9:12] for asked in asking for reply in asked.result()[:-1]}
    assert (code, statuses) == (0, {b"200"})


def test_a_request_that_is_half_sent_is_answered(slow: Callable[..., Server]) -> None:
    server = slow(MASKRCNN_SHUTDOWN_DELAY="0")
    server.wait_for(200)
    with ThreadPoolExecutor(1) as pool:
        request = b"GET /execution-parameters HTTP/1.1\r\nHost: a\r\n\r\n"
        asked = pool.submit(exchanged, server, request, 0.6)
        time.sleep(0.2)
        server.end()
        assert asked.result().startswith(b"HTTP/1.1 200")


def test_the_delay_answers_and_tells_clients_to_go(slow: Callable[..., Server], png: bytes) -> None:
    server = slow(MASKRCNN_SHUTDOWN_DELAY="2")
    server.wait_for(200)
    with httpx.Client(base_url=server.url, timeout=30) as client:
        before = client.post("/invocations", content=png, headers=PNG)
        assert before.headers.get("Connection") is None
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        for _ in range(2):
            after = client.post("/invocations", content=png, headers=PNG)
            assert (after.status_code, after.headers["Connection"]) == (200, "close")
        ping = client.get("/ping")
        assert (ping.status_code, ping.json()["error"]["code"]) == (503, "not_ready")
    assert server.process.wait(PROMPT_S) == 0


def test_a_silent_connection_does_not_keep_the_server(slow: Callable[..., Server]) -> None:
    server = slow()
    server.wait_for(200)
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))):
        code, seconds = server.end()
    assert code == 0
    assert seconds < PROMPT_S


def test_a_port_that_is_taken_is_named_and_exit_code_1(slow: Callable[..., Server]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = slow(port=port)
        assert server.process.wait(30) == 1
    errors = [line for line in server.log.read_text().splitlines() if " INFO " not in line]
    assert any(str(port) in line for line in errors)
    assert "Traceback" not in server.log.read_text()
