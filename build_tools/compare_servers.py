#!/usr/bin/env python3
"""Measure the native server against others around the same handler, on this machine.

compare_servers.py [PICTURE...] [--rounds 5] [--seconds 3] [--concurrency 1,8] [--json FILE]

Each server answers by `Service.invoke` over the fake backend of `maskrcnn_plugin_kit`, so that
the network takes no time. In each round each server is started, loaded by each number of clients,
and stopped; the table has the medians of the rounds, and of each round's ratio to the native
server. LitServe is installed into a temporary folder, beside the packages that are there. Plain
uvicorn is as `pip install uvicorn` leaves it, without uvloop and httptools.
"""

import argparse
import asyncio
import importlib.util
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import psutil

from maskrcnn_handlers.request.envelope import Envelope
from maskrcnn_handlers.service import Service
from maskrcnn_plugin_kit.testing import FakeBackend
from maskrcnn_predict.child import running, serve_command
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.plugins import Plugins
from maskrcnn_study.benchmark.client import Question, address
from maskrcnn_study.benchmark.load import Closed, Level, Target, measure
from maskrcnn_study.benchmark.process import Watched
from maskrcnn_study.benchmark.report import machine

LITSERVE = "litserve==0.2.19"
THREADS = 41
"""As many as the native server has: 32 that may wait, one that runs, 8 spare."""
ENTRY_POINT = "[maskrcnn_server]\nfake = fake_plugin\n"
PLUGIN = """from maskrcnn_server import hookimpl
from maskrcnn_plugin_kit.testing import FakeBackend


@hookimpl
def register_backends(register):
    register(FakeBackend())
"""
LITSERVE_APP = """import sys
from pathlib import Path
from typing import Annotated

import litserve
from fastapi import Depends, Request, Response
from maskrcnn_handlers.request.envelope import Envelope
from maskrcnn_handlers.service import Service
from maskrcnn_server import settings
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.plugins import Plugins
from maskrcnn_plugin_kit.testing import FakeBackend


async def raw(request: Request):
    return await request.body(), request.headers.get("content-type", "")


class Handler(litserve.LitAPI):
    def setup(self, device):
        model = FakeBackend().load(ModelConfig(model_dir=Path()))
        models = Models.single(Scheduler(model, max_waiting=32))
        self.service = Service(Plugins().formats(), settings.read(backend="fake"), models)

    def decode_request(self, request: Annotated[tuple, Depends(raw)]):
        return request

    def predict(self, x):
        return self.service.invoke(Envelope.of(*x))

    def encode_response(self, output) -> Response:
        return Response(output.body, output.status, media_type=output.content_type)


if __name__ == "__main__":
    server = litserve.LitServer(
        Handler(api_path="/invocations"),
        accelerator="cpu",
        timeout=60,
        fast_queue="--fast" in sys.argv,
    )
    port = int(sys.argv[sys.argv.index("--port") + 1])
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False)
"""
"""LitServe with one worker, as there is one model. The worker imports this."""
HERE = [sys.executable, str(Path(__file__).resolve())]


@dataclass(frozen=True)
class Peer:
    """A server to measure: how it is started, and where it answers."""

    command: list[str]
    ping: str = "/ping"


PEERS = {
    "native": Peer(serve_command("--backend", "fake", "--model", ".")),
    "plain uvicorn + starlette": Peer([*HERE, "--serve", "starlette", "--plain"]),
    "uvicorn[standard] + starlette": Peer([*HERE, "--serve", "starlette"]),
    "LitServe": Peer([sys.executable, "-m", "lit_peer"], "/health"),
    "LitServe, fast queue": Peer([sys.executable, "-m", "lit_peer", "--fast"], "/health"),
    "TorchServe": Peer([*HERE, "--serve", "torchserve"]),
    "maskrcnn-server torchserve": Peer(
        serve_command("--backend", "fake", "--model", ".", command="torchserve")
    ),
}


@dataclass(frozen=True)
class Row:
    """How one server did on one picture with so many clients."""

    picture: str
    concurrency: int
    server: str
    per_s: float
    p50_ms: float
    p99_ms: float
    ratio: float
    """Of answers a second to the native server's, in the same round."""
    errors: int
    cpu_ms: float
    """Of the server's processes, for each answer."""
    rss_mb: float
    ready_s: float


def main() -> None:
    """Measure, and print the table."""
    options = _options()
    if options.serve:
        {"starlette": serve_starlette, "torchserve": serve_torchserve}[options.serve](options)
        return
    questions = {path.name: _question(path) for path in options.picture}
    questions = questions or {"64 x 64 PNG": _drawn(64), "512 x 512 PNG": _drawn(512)}
    clients = [int(number) for number in options.concurrency.split(",")]
    chosen = options.only.split(",") if options.only else list(PEERS)
    seen: dict[tuple[str, int, str], list[tuple[Level, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        env = _installed(Path(folder))
        for number in range(options.rounds):
            # Who comes first changes, as the machine's speed does.
            turn = number % len(chosen)
            for name in chosen[turn:] + chosen[:turn]:
                with _started(PEERS[name], env, next(iter(questions.values()))) as (
                    url,
                    pid,
                    ready,
                ):
                    for picture, question in questions.items():
                        for concurrency in clients:
                            target = Target(address(url), [question], watched=Watched(pid))
                            level = asyncio.run(
                                measure(target, Closed(concurrency), options.seconds)
                            )
                            key = (picture, concurrency, name)
                            seen.setdefault(key, []).append((level, ready))
    rows = [_row(key, levels, seen) for key, levels in seen.items()]
    rows.sort(key=lambda row: (row.picture, row.concurrency, -row.per_s))
    _print(rows, options)
    if options.json:
        content = {"machine": machine(), "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(content, indent=1) + "\n")


def serve_starlette(options: argparse.Namespace) -> None:
    """The least that serves the handler: a route, and threads."""
    import uvicorn
    from anyio import CapacityLimiter, to_thread
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    service = _service()
    limiter: list[CapacityLimiter] = []

    async def ping(_: Request) -> Response:
        reply = service.ping()
        return Response(reply.body, reply.status, media_type=reply.content_type)

    async def invocations(request: Request) -> Response:
        if not limiter:
            limiter.append(CapacityLimiter(THREADS))
        body = await request.body()
        envelope = Envelope.of(body, request.headers.get("content-type", ""))
        reply = await to_thread.run_sync(service.invoke, envelope, limiter=limiter[0])
        return Response(reply.body, reply.status, media_type=reply.content_type)

    app = Starlette(
        routes=[Route("/ping", ping), Route("/invocations", invocations, methods=["POST"])]
    )
    uvicorn.run(
        app,
        host=options.host,
        port=options.port,
        loop="asyncio" if options.plain else "uvloop",
        http="h11" if options.plain else "httptools",
        log_level="warning",
        access_log=False,
    )


def serve_torchserve(options: argparse.Namespace) -> None:
    """TorchServe alone, on a port of its own."""
    from maskrcnn_torchserve import files
    from maskrcnn_torchserve.process import command

    folder = Path(tempfile.mkdtemp(dir=environment.without_settings()["COMPARE_FOLDER"]))
    config = {"model": ".", "backend": "fake", "directory": ".", "status": str(folder / "status")}
    stand_in = importlib.util.find_spec("torch") is None
    files.write(folder, environment.read(log_level="error"), files.Options(), config, stand_in)
    properties = folder / "config.properties"
    unix = f"unix:{files.inference_socket(folder)}"
    text = properties.read_text().replace(unix, f"http://{options.host}:{options.port}")
    properties.write_text(text)
    program = command(folder)
    os.execvp(program[0], program)  # noqa: S606


def _free_port() -> int:
    """A port that is free now; peers do not say which they take."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _service() -> Service:
    model = FakeBackend().load(ModelConfig(model_dir=Path()))
    models = Models.single(Scheduler(model, max_waiting=32))
    return Service(Plugins().formats(), environment.read(backend="fake"), models)


@contextmanager
def _started(
    peer: Peer, env: dict[str, str], question: Question
) -> Iterator[tuple[str, int, float]]:
    """A server that answers: its URL, its process, and how long it took to the first answer."""
    start = time.monotonic()
    with running(peer.command, port=_free_port(), ping=peer.ping, env=env) as child:
        request = urllib.request.Request(
            f"{child.url}/invocations", question.body, {"Content-Type": question.content_type}
        )
        while not _answers(request):
            time.sleep(0.05)
        ready = time.monotonic() - start
        family = psutil.Process(child.pid).children(recursive=True)
        yield child.url, child.pid, ready
    _, alive = psutil.wait_procs(family, timeout=3)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=3)


def _answers(request: urllib.request.Request) -> bool:
    try:
        with urllib.request.urlopen(request, timeout=30):
            return True
    except OSError:
        return False


def _installed(folder: Path) -> dict[str, str]:
    """The environment with the fake backend as a plugin, and LitServe."""
    metadata = folder / "fake_plugin-1.0.dist-info"
    metadata.mkdir()
    (folder / "fake_plugin.py").write_text(PLUGIN)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-plugin\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINT)
    (folder / "lit_peer.py").write_text(LITSERVE_APP)
    # Their other requirements are ours: the same FastAPI and uvicorn for everybody.
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*install, "--target", str(folder), LITSERVE, "pyzmq"], check=True)
    own = environment.without_settings()
    return own | {
        "PYTHONPATH": str(folder),
        "COMPARE_FOLDER": str(folder),
        "MASKRCNN_LOG_LEVEL": "warning",
    }


def _question(path: Path) -> Question:
    with PIL.Image.open(path) as picture:
        return Question(path.read_bytes(), picture.get_format_mimetype() or "application/x-image")


def _drawn(size: int) -> Question:
    """A picture in which the fake backend finds three things."""
    chance = np.random.default_rng(0)
    pixels = chance.integers(0, 60, (size, size, 3), np.uint8)
    for channel in range(3):
        at = (1 + channel) * size // 8
        pixels[at : at + size // 4, at : at + size // 2, channel] = 250
    file = BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG")
    return Question(file.getvalue(), "image/png")


def _row(
    key: tuple[str, int, str],
    levels: list[tuple[Level, float]],
    seen: dict[tuple[str, int, str], list[tuple[Level, float]]],
) -> Row:
    picture, concurrency, name = key
    native = seen.get((picture, concurrency, "native"), levels)
    pairs = zip(levels, native, strict=True)
    ratios = [ours.goodput_per_s / max(base.goodput_per_s, 1e-9) for (ours, _), (base, _) in pairs]
    rates = [level.goodput_per_s for level, _ in levels]
    times = [level.latency for level, _ in levels if level.latency]
    used = [level.server for level, _ in levels if level.server]
    return Row(
        picture=picture,
        concurrency=concurrency,
        server=name,
        per_s=statistics.median(rates),
        p50_ms=statistics.median([time.p50_ms for time in times] or [0.0]),
        p99_ms=statistics.median([time.p99_ms for time in times] or [0.0]),
        ratio=statistics.median(ratios),
        errors=sum(sum(level.errors.values()) for level, _ in levels),
        cpu_ms=statistics.median([one.cpu_ms_per_answer or 0.0 for one in used] or [0.0]),
        rss_mb=max((one.peak_rss_mb for one in used), default=0.0),
        ready_s=statistics.median([ready for _, ready in levels]),
    )


def _print(rows: list[Row], options: argparse.Namespace) -> None:
    here = machine()
    lines = [
        f"{here['processor']}, {here['cores']} cores, Python {here['python']}; medians of "
        f"{options.rounds} rounds of {options.seconds:g} s",
        "",
        "| picture | clients | server | answers/s | to native | p50 ms | p99 ms | errors "
        "| CPU ms each | MB | ready s |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row.picture} | {row.concurrency} | {row.server} | {row.per_s:.1f} | {row.ratio:.2f} "
        f"| {row.p50_ms:.2f} | {row.p99_ms:.2f} | {row.errors} | {row.cpu_ms:.2f} "
        f"| {row.rss_mb:.0f} | {row.ready_s:.1f} |"
        for row in rows
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--concurrency", default="1,8")
    parser.add_argument("--only", help="names of servers, separated by commas")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--host", default="127.0.0.1", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
