"""What a client may cost, over real sockets, with both of uvicorn's protocols."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from maskrcnn_handlers.http.asgi import App
from maskrcnn_handlers.http.connections import (
    MAX_HEADER_BYTES,
    MAX_PIPELINED,
    Bounded,
    BoundedH11,
    limits,
)
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.service import Service
from maskrcnn_server import settings as environment
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.plugins import Plugins

if TYPE_CHECKING:
    from server_fixtures import Install, Server

PING = b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"

Listen = Callable[..., tuple[str, int]]


@pytest.fixture(params=[Bounded, BoundedH11], ids=["installed", "h11"])
def protocol(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def listen(scheduler: Scheduler, protocol: Any) -> Iterator[Listen]:
    """Starts a server with these settings in a thread; `bare`: with uvicorn's own protocol."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def started(*, bare: bool = False, routes: Any = (), **given: Any) -> tuple[str, int]:
        settings = environment.read(**given)
        service = Service(Plugins().formats(), settings, Models.single(scheduler))
        app = App(service, ModelManagement(service.models), 8, routes)
        bounded: Any = partial(protocol, limits=limits(settings))
        config = uvicorn.Config(
            app.asgi,
            "127.0.0.1",
            0,
            log_config=None,
            ws="none",
            http=H11Protocol if bare else bounded,
            h11_max_incomplete_event_size=2 * MAX_HEADER_BYTES,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        host, port = server.servers[0].sockets[0].getsockname()
        return host, port

    yield started
    for server, thread in running:
        server.should_exit = True
        thread.join()


def connection(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=10)


def received(client: socket.socket) -> bytes:
    """All that comes until the server closes."""
    parts = []
    try:
        while part := client.recv(1 << 16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def assert_refused(reply: bytes, status: int, code: str) -> None:
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), reply[:200]
    assert b"application/json" in head
    content = json.loads(body)
    assert content["error"]["code"] == code
    assert content["request_id"].encode() in head


def test_many_headers_are_refused(listen: Listen) -> None:
    """Thousands of small headers within 64 KiB take the server longer than large ones."""
    with closing(connection(listen())) as client:
        client.sendall(PING[:-2] + b"A:\r\n" * 15_000 + b"Connection: close\r\n\r\n")
        assert_refused(received(client), 431, "headers_too_large")


def test_as_many_headers_as_are_allowed_are_answered(listen: Listen) -> None:
    with closing(connection(listen())) as client:
        client.sendall(PING[:-2] + b"A:\r\n" * 254 + b"Connection: close\r\n\r\n")
        assert received(client).startswith(b"HTTP/1.1 200 ")


def test_pipelined_requests_are_bounded(listen: Listen, protocol: Any) -> None:
    """Those that wait are answered; then the connection is closed. h11 parses one at a time."""
    if protocol is BoundedH11:
        return
    with closing(connection(listen())) as client:
        client.sendall(PING * 5000)
        count = received(client).count(b"HTTP/1.1 200 ")
    assert MAX_PIPELINED <= count <= MAX_PIPELINED + 2


def test_twenty_pipelined_requests_are_answered(listen: Listen) -> None:
    with closing(connection(listen())) as client:
        client.sendall(PING * 19 + PING[:-2] + b"Connection: close\r\n\r\n")
        assert received(client).count(b"HTTP/1.1 200 ") == 20


def is_open(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
    finally:
        client.settimeout(10)


MALFORMED = {
    "garbage": b"GARBAGE\r\n\r\n",
    "version": b"GET /ping HTTP/x.y\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
    "header": b"GET /ping HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n",
    "length": POST + b"Content-Length: -1\r\n\r\n",
    "chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_http_gets_the_documented_json(listen: Listen, kind: str) -> None:
    with closing(connection(listen())) as client:
        client.sendall(MALFORMED[kind])
        assert_refused(received(client), 400, "invalid_request")


def test_uvicorn_alone_answers_malformed_http_in_text(listen: Listen) -> None:
    with closing(connection(listen(bare=True))) as client:
        client.sendall(b"GARBAGE\r\n\r\n")
        assert b"application/json" not in received(client)


@pytest.mark.parametrize("part", [b"x-a: b\r\n", b"a"], ids=["many", "one that is long"])
def test_endless_headers_get_431(listen: Listen, part: bytes) -> None:
    with closing(connection(listen())) as client:
        client.sendall(b"GET /ping HTTP/1.1\r\nHost: a\r\nX: ")
        sent = 0
        while sent < 4 * MAX_HEADER_BYTES:
            client.sendall(part * 1024)
            sent += len(part) * 1024
        assert_refused(received(client), 431, "headers_too_large")


@pytest.mark.parametrize(("length", "status"), [(65_000, 200), (66_000, 431)])
def test_complete_headers_are_limited_as_well(listen: Listen, length: int, status: int) -> None:
    with closing(connection(listen())) as client:
        client.sendall(PING[:-2] + b"Connection: close\r\nX: " + b"a" * length + b"\r\n\r\n")
        assert received(client).startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(("length", "status"), [(1024, 200), (1025, 400)])
def test_custom_attributes_are_limited(
    listen: Listen, png: bytes, length: int, status: int
) -> None:
    url = "http://{}:{}/invocations".format(*listen())
    headers = {"Content-Type": "image/png", ATTRIBUTES: "t=" + "x" * (length - 2)}
    assert httpx.post(url, content=png, headers=headers).status_code == status


def test_headers_that_stop_get_408_and_silence_is_closed(listen: Listen) -> None:
    address = listen(headers_timeout_s=0.3)
    with closing(connection(address)) as halting, closing(connection(address)) as silent:
        halting.sendall(PING[:-2])
        assert_refused(received(halting), 408, "request_too_slow")
        assert received(silent) == b""


def test_headers_that_trickle_get_408(listen: Listen) -> None:
    with closing(connection(listen(headers_timeout_s=0.5))) as client:
        client.sendall(PING[:-2])
        for _ in range(8):
            client.sendall(b"x-a: b\r\n")
            time.sleep(0.1)
        assert_refused(received(client), 408, "request_too_slow")


def test_a_blank_line_does_not_keep_a_connection_open(listen: Listen) -> None:
    with closing(connection(listen(headers_timeout_s=0.3))) as client:
        client.sendall(PING)
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
        client.sendall(b"\r\n")
        start = time.monotonic()
        received(client)
        assert time.monotonic() - start < 5


def test_uvicorn_alone_waits_for_headers(listen: Listen) -> None:
    with closing(connection(listen(bare=True, headers_timeout_s=0.3))) as client:
        client.sendall(PING[:-2])
        time.sleep(1)
        assert is_open(client)


def test_a_connection_is_kept_between_requests(listen: Listen) -> None:
    with closing(connection(listen(headers_timeout_s=0.3))) as client:
        for _ in range(2):
            client.sendall(PING)
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
            time.sleep(0.8)
        assert is_open(client)


@pytest.mark.parametrize("part", [b"", b"x"], ids=["stops", "trickles"])
def test_a_slow_body_gets_408(listen: Listen, part: bytes) -> None:
    with closing(connection(listen(body_timeout_s=0.5, headers_timeout_s=1))) as client:
        client.sendall(POST + b"Content-Length: 1000\r\n\r\nx")
        for _ in range(8):
            client.sendall(part)
            time.sleep(0.1)
        assert_refused(client.recv(1 << 16), 408, "request_too_slow")
        received(client)  # it is closed


def test_the_bytes_of_all_bodies_are_limited(listen: Listen, png: bytes) -> None:
    address = listen(max_payload_mb=1, max_bodies_mb=2)
    url = "http://{}:{}/invocations".format(*address)
    held = [connection(address) for _ in range(2)]
    for client in held:
        client.sendall(POST + b"Content-Length: 1048576\r\n\r\n" + bytes(1048000))
    time.sleep(0.5)
    headers = {"Content-Type": "image/png"}
    large = httpx.post(url, content=bytes(2000), headers=headers)
    assert large.status_code == 503
    assert large.json()["error"]["code"] == "overloaded"
    assert large.headers["retry-after"] == "1"
    assert httpx.post(url, content=png, headers=headers).status_code == 200
    for client in held:
        client.close()
    time.sleep(0.5)
    assert httpx.post(url, content=bytes(2000), headers=headers).status_code == 422


def silent(address: tuple[str, int], count: int) -> list[socket.socket]:
    return [connection(address) for _ in range(count)]


def busy(address: tuple[str, int], count: int) -> list[socket.socket]:
    """Connections whose requests are being read."""
    clients = silent(address, count)
    for client in clients:
        client.sendall(POST + b"Content-Length: 100\r\n\r\nx")
    time.sleep(0.3)
    return clients


def test_silent_connections_make_room_for_others(listen: Listen) -> None:
    address = listen(max_connections=4)
    clients = silent(address, 12)
    for _ in range(3):
        assert httpx.get("http://{}:{}/ping".format(*address)).status_code == 200
    assert sum(map(is_open, clients)) <= 4
    for client in clients:
        client.close()


def test_uvicorn_alone_keeps_them(listen: Listen) -> None:
    clients = silent(listen(bare=True, max_connections=4), 12)
    time.sleep(0.3)
    assert all(map(is_open, clients))
    for client in clients:
        client.close()


def test_where_all_connections_are_busy_there_is_room_for_health_checks(
    listen: Listen, png: bytes
) -> None:
    address = listen(max_connections=4)
    url = "http://{}:{}".format(*address)
    clients = busy(address, 4)
    assert httpx.get(f"{url}/ping").status_code == 200
    reply = httpx.post(f"{url}/invocations", content=png, headers={"Content-Type": "image/png"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "overloaded")
    assert reply.headers["retry-after"] == "1"
    for one in clients:
        one.close()


LARGE = 32 << 20


def large_reply() -> Any:
    from starlette.responses import Response
    from starlette.routing import Route

    return [Route("/large", lambda _: Response(bytes(LARGE)))]


def reader_that_does_not_read(address: tuple[str, int]) -> socket.socket:
    client = connection(address)
    client.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    return client


def test_readers_that_do_not_read_are_cut(listen: Listen) -> None:
    with closing(
        reader_that_does_not_read(listen(routes=large_reply(), write_timeout_s=0.5))
    ) as client:
        time.sleep(2)
        assert len(received(client)) < LARGE


def test_readers_that_read_get_it_all(listen: Listen) -> None:
    with closing(
        reader_that_does_not_read(listen(routes=large_reply(), write_timeout_s=5))
    ) as client:
        time.sleep(1)
        got = 0
        while got < LARGE:
            got += len(client.recv(1 << 20))


def test_replies_that_nobody_reads_are_limited_together(listen: Listen) -> None:
    address = listen(routes=large_reply(), max_payload_mb=1, max_bodies_mb=80)
    clients = [reader_that_does_not_read(address) for _ in range(6)]
    time.sleep(1)
    complete = sum(len(received_up_to(client, LARGE)) >= LARGE for client in clients)
    assert complete <= 3
    for client in clients:
        client.close()


def received_up_to(client: socket.socket, length: int) -> bytes:
    got = b""
    try:
        while len(got) < length and (part := client.recv(1 << 20)):
            got += part
    except ConnectionResetError:
        pass
    return got


def test_a_reader_that_does_not_read_does_not_delay_the_end(
    start: Callable[..., Server], install: Install, tmp_path: Path
) -> None:
    server = start(tmp_path, "--model", str(tmp_path), "--backend", "fake", env=install())
    server.wait_for(200)
    with closing(connection(("127.0.0.1", int(server.url.rpartition(":")[2])))) as client:
        for _ in range(2000):
            client.send(PING.replace(b"/ping", b"/metrics"))
        time.sleep(1)
        code, seconds = server.end()
    assert code == 0, server.log.read_text()
    assert seconds < 15


def test_with_few_files_the_server_says_so_and_answers_health_checks(
    start: Callable[..., Server], install: Install, tmp_path: Path
) -> None:
    server = start(tmp_path, "--model", str(tmp_path), "--backend", "fake", env=install(), files=64)
    server.wait_for(200)
    assert "at most 64 files may be open (ulimit -n), so at most 24" in server.log.read_text()
    address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    clients = silent(address, 100)
    for _ in range(5):
        assert httpx.get(f"{server.url}/ping").status_code == 200
    assert psutil.Process(server.process.pid).num_fds() <= 64
    for client in clients:
        client.close()
    assert "Traceback" not in server.log.read_text()
