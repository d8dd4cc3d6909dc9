"""The benchmark: its arithmetic, its loads against a server that does as it is told, and runs."""

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from maskrcnn_server.errors import InvalidSetting
from maskrcnn_study.benchmark import report
from maskrcnn_study.benchmark.client import Address, Connection, Question, address, got, posted
from maskrcnn_study.benchmark.load import (
    Closed,
    Level,
    Open,
    Outcome,
    Target,
    arrival_times,
    counted,
    measure,
)
from maskrcnn_study.benchmark.process import Watched
from maskrcnn_study.benchmark.report import Run, best, cost_per_1000
from maskrcnn_study.benchmark.samples import percentile, summary
from maskrcnn_study.commands.bench import bench

Install = Callable[..., dict[str, str]]
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

DEMO = Path(__file__).parents[3] / "backends/tensorpack/maskrcnn_tensorpack/demo"


def run(*arguments: str | Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`bench` in a process of its own."""
    command = [sys.executable, "-m", "maskrcnn_handlers", "bench", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=env
    )


def level(
    good: int = 10, seconds: float = 1, median_s: float = 0.1, clients: int = 1, failed: int = 0
) -> Level:
    return Level(
        loop="closed",
        concurrency=clients,
        rate=None,
        arrivals=None,
        seconds=seconds,
        requests=good + failed,
        good=good,
        errors={"429": failed} if failed else {},
        goodput_per_s=good / seconds,
        latency=summary([median_s]),
        ping=None,
        server=None,
        client_cpu_cores=0.1,
        client_late=None,
    )


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[Address]:
    """A server of which each connection does what the script says."""
    open_now = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.append(writer)
        await script(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1], "/invocations")
    finally:
        server.close()
        for writer in open_now:
            writer.close()


@pytest.fixture
def url() -> Iterator[str]:
    """A server whose every third answer to a question is a 429."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply(200)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(dict(self.headers))
            self._reply(429 if len(asked) % 3 == 0 else 200)

        def log_message(self, *_: object) -> None:
            pass

        def _reply(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

    asked: list[dict[str, str]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_percentiles_are_values_that_were_measured() -> None:
    ordered = list(range(1, 101))
    assert [percentile(ordered, p) for p in (1, 50, 90, 99, 100)] == [1, 50, 90, 99, 100]
    assert percentile([1, 2, 3], 50) == 2
    assert percentile([1, 2, 3, 4], 50) == 2
    assert percentile([7], 99) == 7


def test_a_summary_is_in_milliseconds_and_in_any_order() -> None:
    times = summary([0.003, 0.001, 0.002])
    assert times.count == 3
    assert times.mean_ms == pytest.approx(2)
    assert (times.p50_ms, times.p99_ms, times.max_ms) == pytest.approx((2, 3, 3))


def test_fixed_arrivals_are_evenly_apart() -> None:
    assert arrival_times(Open(2, "fixed"), 3) == [0, 0.5, 1, 1.5, 2, 2.5]
    assert arrival_times(Open(0.1, "fixed"), 1) == [0]


def test_poisson_arrivals_have_their_rate_and_are_the_same_for_every_server() -> None:
    times = arrival_times(Open(50), 100)
    assert times == sorted(times)
    assert all(0 <= at < 100 for at in times)
    # Five standard deviations of a Poisson count of 5,000.
    assert abs(len(times) - 5000) < 5 * 5000**0.5
    assert times == arrival_times(Open(50), 100)
    assert times != arrival_times(Open(50, seed=1), 100)
    gaps = [after - before for before, after in pairwise(times)]
    assert sum(gap > 1 / 50 for gap in gaps) == pytest.approx(len(gaps) / 2.718, rel=0.1)


def test_latency_of_an_open_loop_counts_from_the_arrival() -> None:
    """The server answers nobody until the last has come: who came first waited longest."""
    waiting: list[asyncio.StreamWriter] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (await reader.readuntil(b"\r\n\r\n")).startswith(b"POST"):
            await reader.readexactly(1)
            waiting.append(writer)
            # The first is what warms up.
            if len(waiting) in (1, 6):
                for one in waiting[-5:]:
                    one.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def measured() -> Level:
        async with scripted(script) as to:
            return await measure(Target(to, [Question(b"x", "image/png")]), Open(20, "fixed"), 0.25)

    done = asyncio.run(measured())
    assert (done.requests, done.good, done.errors) == (5, 5, {})
    assert done.latency is not None
    assert done.latency.max_ms >= 200
    assert done.latency.max_ms - done.latency.p50_ms >= 50


def test_failures_are_counted_by_their_kind() -> None:
    outcomes = [Outcome(0.1, None), Outcome(0.1, "429"), Outcome(0.9, None), Outcome(60, "timeout")]
    assert counted(outcomes, None) == (2, {"429": 1, "timeout": 1})
    assert counted(outcomes, 0.5) == (1, {"429": 1, "late": 1, "timeout": 1})
    assert counted([], None) == (0, {})


def test_errors_of_a_server_are_no_goodput(url: str) -> None:
    target = Target(address(url), [Question(b"picture", "image/png")])
    done = asyncio.run(measure(target, Closed(2), 0.3))
    assert set(done.errors) == {"429"}
    assert done.good + done.errors["429"] == done.requests
    assert done.good == pytest.approx(2 * done.errors["429"], abs=2)
    assert done.goodput_per_s == pytest.approx(done.good / done.seconds)
    assert done.ping is not None


def test_a_server_that_is_not_there_is_a_failure_of_each_request() -> None:
    async def measured() -> Level:
        async with scripted(_hang_up) as to:
            pass
        return await measure(Target(to, [Question(b"x", "image/png")]), Closed(1), 0.1)

    done = asyncio.run(measured())
    assert done.good == 0
    assert set(done.errors) == {"connection"}
    assert done.latency is None


def test_an_answer_that_never_comes_is_a_timeout() -> None:
    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async def measured() -> Level:
        async with scripted(script) as to:
            target = Target(to, [Question(b"x", "image/png")], timeout_s=0.1)
            return await measure(target, Closed(1), 0.05)

    assert asyncio.run(measured()).errors == {"timeout": 1}


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody", b"body"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
            b"body",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nbody", b"body"),
    ],
    ids=["length", "chunks", "end"],
)
def test_answers_end_in_three_ways(answer: bytes, body: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async def asked() -> bytes:
        async with scripted(script) as to:
            connection = Connection(to)
            first = await connection.ask(got(to, "/ping"))
            # The server has closed the connection: another is opened.
            second = await connection.ask(got(to, "/ping"))
            connection.close()
            assert first == second
            return second.body

    assert asyncio.run(asked()) == body


async def _hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


def test_what_is_no_http_is_an_error() -> None:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        await writer.drain()

    async def asked() -> None:
        async with scripted(script) as to:
            await Connection(to).ask(got(to, "/"))

    with pytest.raises(ValueError, match="not an HTTP/1 answer"):
        asyncio.run(asked())


def test_addresses_of_urls() -> None:
    assert address("http://a:1") == Address("a", 1, "/invocations")
    assert address("a:1/predict?x=1") == Address("a", 1, "/predict?x=1")
    assert address("https://a/") == Address("a", 443, "/invocations", tls=True)
    for wrong in ("ftp://a", "http://", "http://a:no"):
        with pytest.raises(InvalidSetting):
            address(wrong)


def test_a_request_says_what_its_body_is() -> None:
    request = posted(Address("a", 80, "/x"), Question(b"body", "image/png", "masks=false"))
    head, body = request.split(b"\r\n\r\n")
    assert body == b"body"
    assert head.splitlines() == [
        b"POST /x HTTP/1.1",
        b"Host: a:80",
        b"Content-Type: image/png",
        b"Content-Length: 4",
        b"X-Amzn-SageMaker-Custom-Attributes: masks=false",
    ]


def test_cost_of_a_thousand_images() -> None:
    assert cost_per_1000(3.6, 1) == pytest.approx(1)
    assert cost_per_1000(3.6, 10) == pytest.approx(0.1)
    assert cost_per_1000(1, 0) is None


def test_the_best_load_is_the_cheapest_and_of_about_equals_the_quickest() -> None:
    slow = Run(level(good=101, median_s=0.8, clients=8))
    quick = Run(level(good=100, median_s=0.2, clients=2))
    one = Run(level(good=50, median_s=0.1, clients=1))
    assert best([one, quick, slow]) is quick
    assert best([one, slow]) is slow
    failing = Run(level(good=500, failed=20))
    assert best([failing, one]) is one
    assert best([failing]) is None
    assert best([]) is None


def test_a_process_that_is_not_there_is_a_mistake() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with pytest.raises(InvalidSetting, match="no such process"):
        Watched(child.pid)


def test_a_process_is_watched() -> None:
    watched = Watched(os.getpid())
    assert watched.rss_mb() > 1
    assert watched.cpu_s() > 0


def test_bench_of_a_url_writes_a_table_json_and_an_image(
    url: str, install: Install, tmp_path: Path, png: bytes
) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(png)
    to = ("--json", tmp_path / "out.json", "--plot", tmp_path / "out.svg")
    loads = ("--concurrency", "1,2", "--rate", "20", "--arrivals", "fixed", "--duration", "0.2")
    pid = ("--pid", str(os.getpid()))
    done = run(picture, "--url", url, *loads, *pid, "--price", "3.6", *to, env=install())
    assert done.returncode == 0, done.stderr
    assert "2 clients" in done.stdout
    assert "20/s, fixed" in done.stdout
    assert "429" in done.stdout
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["form"] == report.FORM
    assert content["pictures"] == ["a.png"]
    assert content["target"] == url
    assert content["stages"] is None
    assert set(content["machine"]) == {"system", "processor", "cores", "memory_gb", "python"}
    names = {field.name for field in dataclasses.fields(Level)} | {"max_batch"}
    assert [set(load) for load in content["load"]] == [names] * 3
    assert [load["concurrency"] for load in content["load"]] == [1, 2, None]
    assert content["load"][2]["requests"] == 4
    assert content["load"][0]["server"]["rss_mb"] > 1
    # A third of the answers are errors: there is no best load.
    assert content["price"]["best"] is None
    assert "there is no price" in done.stdout
    for load, cost in zip(content["load"], content["price"]["per_1000_images"], strict=True):
        assert cost == pytest.approx(1 / load["goodput_per_s"])
    assert "<svg" in (tmp_path / "out.svg").read_text()


@pytest.mark.full
def test_bench_starts_a_server_for_each_batch_size(
    install: Install, tmp_path: Path, png: bytes
) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(png)
    model = ("--model", tmp_path, "--backend", "fake")
    loads = ("--concurrency", "2", "--max-batch", "1,2", "--duration", "0.2", "--runs", "2")
    out = ("--json", tmp_path / "out.json", "--price", "1")
    done = run(picture, *model, *loads, *out, "--json-body", env=install())
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "out.json").read_text())
    assert [load["max_batch"] for load in content["load"]] == [1, 2]
    assert all(load["good"] == load["requests"] > 0 for load in content["load"])
    assert all(load["ping"]["count"] > 0 for load in content["load"])
    assert all(load["server"]["peak_rss_mb"] > 1 for load in content["load"])
    assert {"decode", "paste", "encode", "all"} <= set(content["stages"]["times"])
    assert all(times["count"] == 2 for times in content["stages"]["times"].values())
    assert content["price"]["best"]["max_batch"] in (1, 2)
    assert "1,000 images cost" in done.stdout
    assert "1,000,000 images: " in done.stdout
    assert " on 64" in done.stdout


@pytest.mark.parametrize(
    "options",
    [
        ("--concurrency", "0"),
        ("--concurrency", "1,x"),
        ("--rate", "-1"),
        ("--rate", "inf"),
        ("--rate", "1", "--arrivals", "sometimes"),
        ("--max-batch", "0"),
    ],
    ids=" ".join,
)
def test_a_load_that_makes_no_sense_is_a_usage_error(
    options: tuple[str, ...], tmp_path: Path, png: bytes
) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(png)
    app = Typer()
    app.command()(bench)
    done = CliRunner().invoke(app, [str(picture), *options, "--url", "http://127.0.0.1:1"])
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)
    assert "Invalid value" in done.output


def test_an_image_of_no_known_form_is_refused_in_one_line(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    done = run(picture, "--url", "http://127.0.0.1:1", env=dict(os.environ))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_bench_of_the_demo_model_times_the_parts_of_its_network(tmp_path: Path) -> None:
    model = ("--model", DEMO / "model", "--backend", "tensorpack")
    out = ("--json", tmp_path / "out.json")
    done = run(DEMO / "images/shapes-1.png", *model, *out, "--runs", "1", env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    stages = json.loads((tmp_path / "out.json").read_text())["stages"]
    assert list(stages["parts"]) == ["backbone", "rpn", "heads", "masks"]
    assert {"decode", "preprocess", "network", "paste", "encode"} <= set(stages["times"])
    assert list(stages["times"])[-2:] == ["all", "all but network"]


def test_the_key_of_the_server_is_sent_and_never_shown() -> None:
    to = Address("127.0.0.1", 80, "/invocations", api_key="correct-horse")
    header = b"\r\nAuthorization: Bearer correct-horse\r\n"
    assert header in posted(to, Question(b"", "image/png"))
    assert header in got(to, "/ping")
    assert "correct-horse" not in repr(to)
