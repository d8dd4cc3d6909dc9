"""`maskrcnn-server bench`"""

import asyncio
import base64
import importlib.util
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import PIL.Image
import typer
from rich.console import Console

from maskrcnn_handlers.cli.options import BackendName, ModelOption
from maskrcnn_predict.child import running, serve_command
from maskrcnn_server import settings as environment
from maskrcnn_server.errors import redacted
from maskrcnn_server.plugins import installed
from maskrcnn_study.benchmark import report
from maskrcnn_study.benchmark.client import Question, address
from maskrcnn_study.benchmark.load import Arrivals, Closed, Open, Target, measure
from maskrcnn_study.benchmark.process import Watched
from maskrcnn_study.benchmark.report import Report, Run
from maskrcnn_study.benchmark.stages import Stages, time_stages

DEFAULT_CONCURRENCY = "1,2,4,8"

ArrivalsOption = Annotated[
    str, typer.Option(help="Of --rate: `poisson`, or `fixed` distances.", metavar="KIND")
]


def bench(
    images: Annotated[list[Path], typer.Argument(help="Pictures to send, in turn.")],
    instances: Annotated[
        int,
        typer.Option(min=0, help="Ask for this many instances, whatever they score; 0: as it is."),
    ] = 30,
    runs: Annotated[
        int, typer.Option(min=0, help="Requests whose stages are timed, after two to warm up.")
    ] = 30,
    model: ModelOption = None,
    backend: BackendName = None,
    url: Annotated[
        str | None, typer.Option(help="Load this server (path: /invocations) instead of our own.")
    ] = None,
    concurrency: Annotated[
        str, typer.Option(help="Load by so many clients at a time, such as 1,2,4,8.")
    ] = "",
    rate: Annotated[
        str, typer.Option(help="Load by so many arrivals a second, such as 0.5,1,2.")
    ] = "",
    arrivals: ArrivalsOption = "poisson",
    duration: Annotated[float, typer.Option(min=0.1, help="Seconds of each load.")] = 10,
    within: Annotated[
        float | None, typer.Option(min=0, help="An answer is good within so many milliseconds.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds after which a request is given up.")
    ] = 60,
    max_batch: Annotated[
        str, typer.Option(help="Of our own server: each MASKRCNN_MAX_BATCH to try, such as 1,4.")
    ] = "",
    json_body: Annotated[
        bool, typer.Option("--json-body", help="Send JSON with base64, as the notebooks do.")
    ] = False,
    ping: Annotated[str, typer.Option(help="Path of the health check.")] = "/ping",
    pid: Annotated[
        int | None, typer.Option(help="Process of --url, whose processor and memory to watch.")
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0, help="What the machine costs an hour.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write everything to this file.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw latency against throughput: FILE.png or .svg.")
    ] = None,
) -> None:
    """Time the stages of a request, and a server under load.

    Stages are timed in this process unless --url is given. The load goes to the server at --url or,
    with --concurrency or --rate, to one that is started for it.
    """
    console = Console()
    if not console.is_terminal:
        console.width = 110
    questions = [_question(image, instances, json_body) for image in images]
    if (url or price is not None or plot) and not concurrency and not rate:
        concurrency = DEFAULT_CONCURRENCY
    loads = _loads(concurrency, rate, arrivals)
    batches: list[int | None] = [*_numbers("--max-batch", max_batch)] or [None]
    measured: list[Run] = []
    # Before the stages, which leave a framework behind in this process.
    for batch in batches if loads else []:
        with _server(url, model, backend, batch, pid) as (place, watched):
            to = replace(address(place), api_key=environment.api_key())
            target = Target(to, questions, ping, timeout, watched)
            for load in loads:
                limit = None if within is None else within / 1000
                level = asyncio.run(measure(target, load, duration, limit))
                measured.append(Run(level, batch))
                if console.is_terminal:
                    console.print(f"{report.load_name(level)}: {level.goodput_per_s:.2f}/s")
    stages: Stages | None = None
    names = ", ".join(image.name for image in images)
    if url is None and runs:
        settings = environment.read(model=model, backend=backend)
        stages = time_stages(installed(), settings, questions, runs)
        console.print(f"loaded and warmed up in {stages.ready_s:.1f} s")
        title = f"{names}: {stages.bytes_in} bytes in, {stages.bytes_out} out"
        console.print(report.stages_table(stages, title))
    if measured:
        console.print(report.load_table(measured, price))
    if price is not None:
        console.print(report.price_line(measured, price))
    if json_file is not None:
        target_name = redacted(url or str(model or ""))
        content = Report([i.name for i in images], target_name, stages, measured, price)
        json_file.write_text(json.dumps(report.as_json(content), indent=1) + "\n")
    if plot is not None:
        report.plot(measured, plot)


@contextmanager
def _server(
    url: str | None, model: str | None, backend: str | None, max_batch: int | None, pid: int | None
) -> Iterator[tuple[str, Watched | None]]:
    """Address of the server under load, and its process if known."""
    if url is not None:
        yield url, None if pid is None else Watched(pid)
        return
    given = {"--model": model, "--backend": backend}
    options = [part for name, value in given.items() if value for part in (name, value)]
    command = serve_command(*options)
    if max_batch is not None:
        command = ["env", f"MASKRCNN_MAX_BATCH={max_batch}", *command]
    with running(command) as child:
        has_psutil = importlib.util.find_spec("psutil") is not None
        yield child.url, Watched(child.pid) if has_psutil else None


def _question(image: Path, instances: int, json_body: bool) -> Question:
    """The request for an image."""
    data = image.read_bytes()
    attributes = f"score_threshold=0;max_detections={instances}" if instances else ""
    if json_body:
        body = {"img_id": image.name, "img_data": base64.b64encode(data).decode()}
        return Question(json.dumps(body).encode(), "application/json", attributes)
    with PIL.Image.open(image) as picture:
        return Question(data, picture.get_format_mimetype() or "application/x-image", attributes)


def _loads(concurrency: str, rate: str, arrivals: str) -> list[Closed | Open]:
    if arrivals not in ("poisson", "fixed"):
        raise typer.BadParameter(f"{arrivals}: neither poisson nor fixed", param_hint="--arrivals")
    kind: Arrivals = "fixed" if arrivals == "fixed" else "poisson"
    closed = [Closed(number) for number in _numbers("--concurrency", concurrency)]
    return [*closed, *(Open(number, kind) for number in _rates(rate))]


def _numbers(name: str, text: str) -> Sequence[int]:
    """Positive integers, separated by commas."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"{text}: not numbers from 1, as in 1,2,4", param_hint=name)
    return [int(part) for part in parts]


def _rates(text: str) -> Sequence[float]:
    try:
        rates = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        rates = [0.0]
    if not all(0 < rate < float("inf") for rate in rates):
        raise typer.BadParameter(f"{text}: not positive numbers, as in 0.5,1", param_hint="--rate")
    return rates
