#!/usr/bin/env python3
"""Compare one process of N threads with N workers of one thread, on this machine's CPUs: a table.

compare_workers.py [--model FOLDER] [--image FILE] [--engines openvino,torch] [--workers 2]
                   [--clients 4] [--rounds 5] [--seconds 6]

Of an engine, both servers run at the same time, and are measured in turn, round by round. Numbers
are medians of the rounds; the ratio is that of one round.
"""

import argparse
import asyncio
import mimetypes
import statistics
import sys
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from maskrcnn_predict.child import Child, running, serve_command
from maskrcnn_server import settings as environment
from maskrcnn_study.benchmark.client import Question, address
from maskrcnn_study.benchmark.load import Closed, Level, Target, measure
from maskrcnn_study.benchmark.process import Watched

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "backends/tensorpack/maskrcnn_tensorpack/demo"
START_TIMEOUT_S = 600


def main() -> None:
    """Measure, and print the table."""
    options = _options()
    lines = [
        "| engine | processes x threads | clients | images/s | to one process | p50 ms "
        "| CPU ms each | MB |",
        "| --- | --- |" + 6 * " ---: |",
    ]
    for engine in options.engines.split(","):
        for clients in (1, options.clients):
            lines += _rows(engine, clients, options)
    sys.stdout.write("\n".join(lines) + "\n")


def _rows(engine: str, clients: int, options: argparse.Namespace) -> list[str]:
    count = options.workers
    with ExitStack() as stack:
        servers = [
            stack.enter_context(_served(engine, devices, count, options))
            for devices in ("cpu", ",".join(["cpu"] * count))
        ]
        watched = [Watched(server.pid) for server in servers]
        levels = [
            [_level(server, clients, options) for server in servers] for _ in range(options.rounds)
        ]
        memory = [each.rss_mb() for each in watched]
    rows = []
    for index, name in enumerate((f"1 x {count}", f"{count} x 1")):
        rate = statistics.median(pair[index].goodput_per_s for pair in levels)
        ratio = statistics.median(p[index].goodput_per_s / p[0].goodput_per_s for p in levels)
        used = [pair[index].server for pair in levels]
        busy = statistics.median((each and each.cpu_ms_per_answer) or 0.0 for each in used)
        waits = [pair[index].latency for pair in levels]
        p50_ms = statistics.median(wait.p50_ms for wait in waits if wait is not None)
        cells = f"{rate:.2f} | {ratio:.2f} | {p50_ms:.0f} | {busy:.0f} | {memory[index]:.0f}"
        rows.append(f"| {engine} | {name} | {clients} | {cells} |")
    return rows


def _served(
    engine: str, devices: str, threads: int, options: argparse.Namespace
) -> AbstractContextManager[Child]:
    told = {"MASKRCNN_ENGINE": engine, "MASKRCNN_DEVICE": devices}
    told["MASKRCNN_THREADS"] = str(threads // len(devices.split(",")))
    command = serve_command("--model", str(options.model), "--backend", "tensorpack")
    return running(
        command, env=environment.without_settings() | told, start_timeout_s=START_TIMEOUT_S
    )


def _level(server: Child, clients: int, options: argparse.Namespace) -> Level:
    kind = mimetypes.guess_type(options.image.name)[0] or "image/png"
    questions = [Question(options.image.read_bytes(), kind)]
    watched = Watched(server.pid)
    target = Target(address(server.url), questions, watched=watched, timeout_s=600)
    return asyncio.run(measure(target, Closed(clients), options.seconds))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=DEMO / "model")
    parser.add_argument("--image", type=Path, default=DEMO / "images/shapes-1.png")
    parser.add_argument("--engines", default="openvino,torch")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6)
    return parser.parse_args()


if __name__ == "__main__":
    main()
