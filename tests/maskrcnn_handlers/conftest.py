"""The handlers as clients meet them: the real formats over a model that needs no framework."""

import asyncio
import base64
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest
import uvicorn

from maskrcnn_handlers.asgi import App
from maskrcnn_handlers.model_management import ModelManagement
from maskrcnn_handlers.service import Service
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.scheduler import Scheduler
from maskrcnn_server.settings import Settings
from maskrcnn_server.testing import FakeBackend

FAKE_PLUGIN = """
from maskrcnn_server import hookimpl
from maskrcnn_server.testing import FakeBackend

@hookimpl
def register_backends(register):
    register(FakeBackend())
"""

Install = Callable[..., dict[str, str]]


class InProcess(httpx.BaseTransport):
    """Sends the requests of an ordinary `httpx.Client` to an ASGI application."""

    def __init__(self, application: Any) -> None:
        self._transport = httpx.ASGITransport(application)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return asyncio.run(self._send(request))

    async def _send(self, request: httpx.Request) -> httpx.Response:
        sent = httpx.Request(
            request.method, request.url, headers=request.headers, stream=_Chunks(request.stream)
        )
        response = await self._transport.handle_async_request(sent)
        body = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=body)


class _Chunks(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream | httpx.AsyncByteStream) -> None:
        assert isinstance(stream, httpx.SyncByteStream)
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._stream:
            yield chunk


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    url: str
    log: Path
    statuses: list[int] = field(default_factory=list)
    """What /ping answered until it was 200."""

    def wait_for(self, status: int) -> None:
        for _ in range(1200):
            assert self.process.poll() is None, self.log.read_text()
            try:
                self.statuses.append(httpx.get(f"{self.url}/ping", timeout=2).status_code)
            except httpx.TransportError:
                time.sleep(0.02)
                continue
            if self.statuses[-1] == status:
                return
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def end(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """The exit code after this signal, and how long it took."""
        start = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(40), time.monotonic() - start


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {name for names in environment.variable_names().values() for name in names}
    for name in names | set(environment.IGNORED):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def settings() -> Settings:
    return environment.read(max_payload_mb=1)


@pytest.fixture
def scheduler(tmp_path: Path) -> Scheduler:
    model = FakeBackend().load(ModelConfig(model_dir=tmp_path))
    return Scheduler(model, max_waiting=4)


@pytest.fixture
def service(settings: Settings, scheduler: Scheduler) -> Service:
    answering = Service(Plugins().formats(), settings)
    answering.start(scheduler)
    return answering


@pytest.fixture
def connect() -> Callable[[App], httpx.Client]:
    """Makes a client of an application."""
    return lambda app: httpx.Client(transport=InProcess(app.asgi), base_url="http://test")


@pytest.fixture
def client(service: Service, connect: Callable[[App], httpx.Client]) -> httpx.Client:
    return connect(App(service, ModelManagement(None), threads=4))


@pytest.fixture
def url(service: Service) -> Iterator[str]:
    """The address of the service, over a socket, in a thread of this process."""
    application = App(service, ModelManagement(None), threads=4).asgi
    server = uvicorn.Server(uvicorn.Config(application, "127.0.0.1", 0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield "http://{}:{}".format(*server.servers[0].sockets[0].getsockname())
    server.should_exit = True
    thread.join()


@pytest.fixture
def encode() -> Callable[..., bytes]:
    """Writes pixels, or a picture, as an image file in memory."""

    def encoded(picture: Any, form: str = "PNG", **options: Any) -> bytes:
        if isinstance(picture, np.ndarray):
            picture = PIL.Image.fromarray(picture)
        file = BytesIO()
        picture.save(file, form, **options)
        return file.getvalue()

    return encoded


@pytest.fixture
def pixels() -> np.ndarray:
    """8 rows, 10 columns, black but for a red box: x 3 to 9, y 2 to 5."""
    black = np.zeros((8, 10, 3), np.uint8)
    black[2:5, 3:9, 0] = 255
    return black


@pytest.fixture
def png(encode: Callable[..., bytes], pixels: np.ndarray) -> bytes:
    return encode(pixels)


@pytest.fixture
def question(png: bytes) -> dict[str, Any]:
    """The notebook's request."""
    return {"img_id": "a.png", "img_data": base64.b64encode(png).decode()}


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Installs a plugin of this source for other processes: returns their environment."""

    def installed(source: str = FAKE_PLUGIN, **variables: str) -> dict[str, str]:
        site = tmp_path / "site"
        metadata = site / "stranger-1.0.dist-info"
        metadata.mkdir(parents=True)
        (site / "stranger.py").write_text(source)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text("[maskrcnn_server]\nstranger = stranger\n")
        return {**os.environ, "PYTHONPATH": str(site), **variables}

    return installed


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., Server]]:
    """Starts a server on a free port; those that still run at the end are killed."""
    started: list[Server] = []

    def server(
        folder: Path,
        *options: str,
        env: dict[str, str] | None = None,
        port: int = 0,
        command: str = "serve",
    ) -> Server:
        if not port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
        program = [sys.executable, "-m", "maskrcnn_handlers", command, "--host", "127.0.0.1"]
        log = folder / f"{port}-{len(started)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*program, "--port", str(port), *options], stderr=file, env=env
            )
        started.append(Server(process, f"http://127.0.0.1:{port}", log))
        return started[-1]

    yield server
    for one in started:
        one.process.kill()
        one.process.wait()


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The address of moto's server, which plays AWS, with the one operation that it lacks."""
    from moto.core.responses import ActionResult
    from moto.sagemaker.responses import SageMakerResponse
    from moto.server import ThreadedMotoServer

    def update_endpoint(self: Any) -> Any:
        backend, name = self.sagemaker_backend, self._get_param("EndpointName")
        tags = backend.endpoints[name].tags
        backend.delete_endpoint(name)
        endpoint = backend.create_endpoint(name, self._get_param("EndpointConfigName"), tags)
        return ActionResult({"EndpointArn": endpoint.arn})

    assert not hasattr(SageMakerResponse, "update_endpoint")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SageMakerResponse, "update_endpoint", update_endpoint, raising=False)
        server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An account with nothing in it but the bucket `models`; the address of its API."""
    import boto3

    httpx.post(f"{moto}/moto-api/reset").raise_for_status()
    for name, value in {
        "AWS_ENDPOINT_URL": moto,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "absent"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "absent"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    boto3.client("s3").create_bucket(Bucket="models")
    return moto


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as threads:
        yield threads
