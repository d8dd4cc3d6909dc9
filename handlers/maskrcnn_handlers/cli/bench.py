"""`maskrcnn-server bench`"""

import base64
import json
import logging
import statistics
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from maskrcnn_handlers.cli.serve import BackendName, ModelOption
from maskrcnn_handlers.service import Service
from maskrcnn_server import settings as environment
from maskrcnn_server import stopwatch
from maskrcnn_server.engine import Engine
from maskrcnn_server.errors import RequestError
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.startup import open_model

STAGES = ("decode", "preprocess", "network", "paste", "encode")


def bench(
    image: Annotated[Path, typer.Argument(help="Picture to send.")],
    instances: Annotated[
        int, typer.Option(min=1, help="Ask for this many instances, whatever they score.")
    ] = 30,
    runs: Annotated[int, typer.Option(min=1, help="Counted runs, after two to warm up.")] = 30,
    model: ModelOption = None,
    backend: BackendName = None,
) -> None:
    """Time the stages of a request, from the JSON's bytes to the reply's."""
    console = Console()
    settings = environment.read(model=model, backend=backend)
    data = image.read_bytes()
    plugins = Plugins()
    start = time.monotonic()
    loaded = open_model(plugins, settings)
    console.print(f"loaded and warmed up in {time.monotonic() - start:.1f} s")
    service = Service(plugins.formats(), settings)
    service.start(Engine(loaded, max_waiting=0))
    logging.getLogger().setLevel(logging.WARNING)
    body = json.dumps(
        {
            "img_id": image.name,
            "img_data": base64.b64encode(data).decode(),
            "score_threshold": 0.0,
            "max_detections": instances,
        }
    ).encode()
    samples: dict[str, list[float]] = {}
    for run in range(runs + 2):
        begin = time.perf_counter()
        with stopwatch.listen() as watch:
            reply = service.invoke(body, "application/json", "", "")
        total = time.perf_counter() - begin
        if reply.status != 200:
            raise RequestError(json.loads(reply.body)["error"]["message"])
        if run >= 2:
            ours = total - watch.seconds.get("network", 0.0)
            for name, seconds in {**watch.seconds, "all": total, "all but network": ours}.items():
                samples.setdefault(name, []).append(1000 * seconds)
    found = len(json.loads(reply.body)["annotations"])
    console.print(_table(samples, f"{image.name}, {found} instances, {runs} runs"))
    loaded.close()


def _table(samples: dict[str, list[float]], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("stage", "median ms", "90 % ms", "largest ms"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for name in (*STAGES, "all", "all but network"):
        times = sorted(samples.get(name, [0.0]))
        ninety = times[min(len(times) - 1, int(0.9 * len(times)))]
        row = (statistics.median(times), ninety, times[-1])
        table.add_row(name, *(f"{value:.2f}" for value in row))
    return table
