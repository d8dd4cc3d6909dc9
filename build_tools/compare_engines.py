#!/usr/bin/env python3
"""Measure one network in several engines, on this machine: a table, a picture, a file.

compare_engines.py --out FOLDER [--original CHECKOUT] [--only ENGINE,...] [--rounds 5]
                [--seconds 20] [--picture FILE] [--calibrate FOLDER] [--images-mb ENGINE=MB,...]

Of the seeded resnet50 of the tests: a request to the server, images a second for 1, 4 and 8
clients, resident memory, time from the process's start to ready; at the end, engine after engine,
what the network takes alone, by the clock and of the processor, which other work on the machine
delays less. Of the demo model: average precision through HTTP. FOLDER keeps the models and
`engines.json`, to which each engine adds its row when it is done: what is there is not measured
again.

`--original` is a checkout of TensorPack's examples/FasterRCNN, whose graph is then a row, too, and
needs `scipy<1.14`; `--images-mb` are the sizes that `build_image.sh` printed.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskrcnn_handlers.request import images
from maskrcnn_predict.child import Child, running, serve_command
from maskrcnn_server import settings as environment
from maskrcnn_server import stopwatch
from maskrcnn_server.backend import PredictOptions
from maskrcnn_server.hosting.startup import open_model
from maskrcnn_server.plugins import Plugins
from maskrcnn_study.benchmark.client import Question, address
from maskrcnn_study.benchmark.load import Closed, Target, measure
from maskrcnn_study.benchmark.process import Watched
from maskrcnn_study.benchmark.report import machine

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
VALIDATION = ROOT / "tests/demo/val200"
CLIENTS = (1, 4, 8)
START_TIMEOUT_S = 600
MEASURE = "--network"
BACKEND = "tensorpack"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One engine. Times are medians."""

    engine: str
    request_ms: float
    per_s: dict[str, float]
    """Images a second, by number of clients."""
    ready_s: float
    rss_mb: float
    """At the end, the largest."""
    box_ap: float
    mask_ap: float
    image_mb: float | None


def main() -> None:
    """Measure what is missing; print the table of all that is there, and draw it."""
    options = _options()
    if options.network:
        sys.stdout.write(f"{json.dumps(_network_alone(options))}\n")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "engines.json"
    rows = json.loads(file.read_text())["rows"] if file.is_file() else []
    _make_models(options)
    sizes = dict(pair.split("=") for pair in options.images_mb.split(",") if pair)
    engines = _engines(options)
    for name, told in engines.items():
        if any(row["engine"] == name for row in rows):
            continue
        size = float(sizes[name]) if name in sizes else None
        rows.append(asdict(_row(name, told, options, size)))
        _keep(rows, file)
    for row in rows:
        if "network_cpu_ms" not in row and row["engine"] in engines:
            row.update(_network(engines[row["engine"]], options))
            _keep(rows, file)
    finished = [row for row in rows if "network_cpu_ms" in row]
    sys.stdout.write(_table(finished))
    _draw(finished, options.out / "engines.png")


def _keep(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    file.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


def _engines(options: argparse.Namespace) -> dict[str, Mapping[str, str]]:
    """What the server is told, by the engine's name in the table."""
    found = {}
    if options.original:
        checkout = str(options.original)
        found["original graph"] = _told("original") | {"TENSORPACK_FASTERRCNN": checkout}
    found["TensorFlow"] = _told("tensorflow")
    found["PyTorch"] = _told("torch")
    for precision in ("float32", "int8"):
        found[f"OpenVINO {precision}"] = _told("openvino") | {"MASKRCNN_PRECISION": precision}
    chosen = options.only.split(",") if options.only else list(found)
    return {name: told for name, told in found.items() if name in chosen}


def _told(engine: str) -> dict[str, str]:
    return {"MASKRCNN_ENGINE": engine, "MASKRCNN_DEVICE": "cpu"}


def _make_models(options: argparse.Namespace) -> None:
    """The seeded network and the demo, calibrated, where they are missing."""
    pictures = {"seeded": ROOT / "tests/images", "demo": options.calibrate}
    for name, calibrate in pictures.items():
        folder = options.out / name
        if folder.exists():
            continue
        if name == "demo":
            shutil.copytree(DEMO, folder)
        else:
            sys.path.append(str(ROOT / "tests/golden"))
            from make_weights import weights

            folder.mkdir()
            np.savez(folder / "model.npz", allow_pickle=False, **weights("resnet50", "tensorpack"))
        # Of weights that were never trained any part changes everything: none is kept.
        command = [sys.executable, "-m", "maskrcnn_handlers", "calibrate", "--all"]
        arguments = ["--backend", BACKEND, str(folder), str(calibrate)]
        subprocess.run([*command, *arguments], check=True, env=environment.without_settings())


def _network(told: Mapping[str, str], options: argparse.Namespace) -> dict[str, float]:
    """What a process of its own finds out."""
    done = subprocess.run(
        [
            sys.executable,
            __file__,
            MEASURE,
            "--out",
            str(options.out),
            "--picture",
            str(options.picture),
            "--rounds",
            str(options.rounds),
        ],
        check=True,
        stdout=subprocess.PIPE,
        env=environment.without_settings() | dict(told),
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _row(
    name: str, told: Mapping[str, str], options: argparse.Namespace, size: float | None
) -> Row:
    per_s = {}
    request_ms = float("nan")
    with _served(options.out / "seeded", told) as server:
        question = Question(options.picture.read_bytes(), "image/png")
        watched = Watched(server.pid)
        for count in CLIENTS:
            target = Target(address(server.url), [question], watched=watched, timeout_s=600)
            level = asyncio.run(measure(target, Closed(count), options.seconds))
            per_s[str(count)] = level.goodput_per_s
            if count == 1 and level.latency:
                request_ms = level.latency.p50_ms
        rss_mb = watched.rss_mb()
    with _served(options.out / "demo", told) as demo:
        box_ap, mask_ap = _average_precision(demo.url)
    return Row(
        engine=name,
        request_ms=request_ms,
        per_s=per_s,
        ready_s=server.ready_s,
        rss_mb=rss_mb,
        box_ap=box_ap,
        mask_ap=mask_ap,
        image_mb=size,
    )


def _network_alone(options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of the network, by the clock and of the processor, children included."""
    folder = options.out / "seeded"
    settings = environment.read(model=str(folder), backend=BACKEND, log_level="error")
    model = open_model(Plugins(), settings)
    image = images.decode(options.picture.read_bytes(), settings.max_image_pixels)
    asked = PredictOptions(score_threshold=0.05)
    spent, busy = [], []
    processes = Watched(os.getpid())
    for _ in range(options.rounds + 1):
        begin = processes.cpu_s()
        with stopwatch.listen() as watch, stopwatch.stage("model"):
            model.predict([image], asked)
        busy.append(1000 * (processes.cpu_s() - begin))
        spent.append(1000 * watch.seconds.get("network", watch.seconds["model"]))
    model.close()
    return {
        "network_ms": statistics.median(spent[1:]),
        "network_cpu_ms": statistics.median(busy[1:]),
    }


def _served(folder: Path, told: Mapping[str, str]) -> AbstractContextManager[Child]:
    command = serve_command("--model", str(folder), "--backend", BACKEND)
    env = environment.without_settings() | dict(told)
    return running(command, env=env, start_timeout_s=START_TIMEOUT_S)


def _average_precision(url: str) -> tuple[float, float]:
    """Of the demo's validation pictures: boxes', masks'."""
    results = []
    for picture in json.loads((VALIDATION / "instances.json").read_text())["images"]:
        attributes = f"img_id={picture['id']}; format=coco; score_threshold=0.05"
        body = (VALIDATION / "images" / picture["file_name"]).read_bytes()
        headers = {
            "Content-Type": "image/jpeg",
            "X-Amzn-SageMaker-Custom-Attributes": attributes,
        }
        request = urllib.request.Request(f"{url}/invocations", body, headers)
        with urllib.request.urlopen(request) as reply:
            results += json.load(reply)
    truth = COCO(str(VALIDATION / "instances.json"))
    found = []
    for kind in ("bbox", "segm"):
        evaluation = COCOeval(truth, truth.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        found.append(float(evaluation.stats[0]))
    return found[0], found[1]


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """In Markdown."""
    here = machine()
    clients = " | ".join(f"images/s, {count} clients" for count in CLIENTS)
    lines = [
        f"{here['processor']}, {here['cores']} cores, Python {here['python']}",
        "",
        f"| engine | network ms | CPU ms | request ms | {clients} | ready s | memory MB | image MB "
        "| box AP | mask AP |",
        "| --- " + "| ---: " * (8 + len(CLIENTS)) + "|",
    ]
    for row in rows:
        rates = " | ".join(f"{row['per_s'][str(count)]:.2f}" for count in CLIENTS)
        size = f"{row['image_mb']:.0f}" if row["image_mb"] else ""
        lines.append(
            f"| {row['engine']} | {row['network_ms']:.0f} | {row['network_cpu_ms']:.0f} "
            f"| {row['request_ms']:.0f} | {rates} "
            f"| {row['ready_s']:.1f} | {row['rss_mb']:.0f} | {size} | {row['box_ap']:.4f} "
            f"| {row['mask_ap']:.4f} |"
        )
    return "\n".join(lines) + "\n"


def _draw(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """What the network takes, memory and time to ready, side by side."""
    figure = Figure(figsize=(10, 0.5 + 0.5 * len(rows)), layout="constrained")
    names = [row["engine"] for row in rows]
    shown = (
        ("network_ms", "network, ms", "{:.0f}"),
        ("rss_mb", "memory, MB", "{:.0f}"),
        ("ready_s", "time to ready, s", "{:.1f}"),
    )
    for axes, (key, title, form) in zip(
        figure.subplots(1, len(shown), sharey=True), shown, strict=True
    ):
        bars = axes.barh(names, [row[key] for row in rows], color="tab:blue")
        axes.bar_label(bars, fmt=form, padding=2)
        axes.set_title(title)
        axes.margins(x=0.25)
        axes.invert_yaxis()
    figure.savefig(file)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--original", type=Path)
    parser.add_argument("--only", help="names of engines, separated by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--picture", type=Path, default=ROOT / "tests/images/china.png")
    parser.add_argument("--calibrate", type=Path, default=ROOT / "tests/demo/golden")
    parser.add_argument("--images-mb", default="")
    parser.add_argument(MEASURE, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
