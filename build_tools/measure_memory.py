#!/usr/bin/env python3
"""Measure a server's memory: after loading, and over many requests of mixed sizes.

measure_memory.py [--requests 2000] [--models seeded:resnet50,seeded:resnet101,demo | FOLDER,...]
               [--backend tensorpack] [--json FILE]

`seeded:` models have the weights of the tests, of full size; `demo` is the small bundled one. Each
is served by a process of its own; `ready` is the time from its start to the first /ping of 200.
"""

import argparse
import asyncio
import itertools
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image

from maskrcnn_predict.child import running, serve_command
from maskrcnn_study.benchmark.client import Address, Connection, Question, address, posted
from maskrcnn_study.benchmark.process import Watched
from maskrcnn_study.benchmark.report import machine

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
SIZES = ((60, 60), (240, 320), (427, 640), (640, 427), (480, 480), (300, 900), (1200, 1600))
"""Height and width."""
SHARE = 10
"""Memory is noted after each of so many parts of the requests."""


@dataclass(frozen=True)
class Run:
    """A server's memory in MB (10^6 bytes)."""

    model: str
    ready_s: float
    ready_mb: float
    requests: int
    failed: int
    later_mb: list[float]
    """After each tenth of the requests."""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--models", default="seeded:resnet50,seeded:resnet101,demo")
    parser.add_argument("--backend", default="tensorpack")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs = []
    for name in options.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            model = _model(name, Path(folder))
            runs.append(_run(name, model, options.backend, options.requests))
    _print(runs)
    if options.json:
        content = {"machine": machine(), "runs": [asdict(run) for run in runs]}
        options.json.write_text(json.dumps(content, indent=1) + "\n")


def _run(name: str, model: Path, backend: str, requests: int) -> Run:
    with running(serve_command("--model", str(model), "--backend", backend)) as child:
        watched = Watched(child.pid)
        ready = watched.rss_mb()
        asked = asyncio.run(_ask(address(child.url), requests, watched))
        return Run(name, child.ready_s, ready, requests, *asked)


async def _ask(to: Address, requests: int, watched: Watched) -> tuple[int, list[float]]:
    """How many failed, and the memory on the way."""
    questions = [posted(to, question) for question in _pictures()]
    chance = random.Random(0)  # noqa: S311 (not for secrets)
    order = itertools.chain.from_iterable(
        chance.sample(questions, len(questions)) for _ in itertools.count()
    )
    connection = Connection(to)
    failed, later = 0, []
    for number, request in enumerate(itertools.islice(order, requests), start=1):
        failed += (await connection.ask(request)).status != 200
        if number % max(1, requests // SHARE) == 0:
            later.append(watched.rss_mb())
    connection.close()
    return failed, later


def _pictures() -> Sequence[Question]:
    """A photograph in all sizes, with all its instances."""
    photograph = PIL.Image.open(ROOT / "tests/images/china.png").convert("RGB")
    questions = []
    for height, width in SIZES:
        file = BytesIO()
        photograph.resize((width, height)).save(file, "JPEG")
        questions.append(Question(file.getvalue(), "image/jpeg", "score_threshold=0"))
    return questions


def _model(name: str, folder: Path) -> Path:
    if name == "demo":
        return DEMO
    if not name.startswith("seeded:"):
        return Path(name)
    sys.path.append(str(ROOT / "tests/golden"))
    from make_weights import weights

    values = weights(name.removeprefix("seeded:"), "tensorpack")
    np.savez(folder / "model.npz", allow_pickle=False, **values)
    return folder


def _print(runs: Sequence[Run]) -> None:
    here = machine()
    shares = [f"{100 * (part + 1) // SHARE} %" for part in range(SHARE)]
    lines = [
        f"{here['processor']}, {here['cores']} cores, Python {here['python']}; resident MB",
        "",
        f"| model | ready s | when ready | requests | failed | {' | '.join(shares)} |",
        f"| --- {'| ---: ' * (4 + SHARE)}|",
    ]
    lines += [
        f"| {run.model} | {run.ready_s:.1f} | {run.ready_mb:.0f} | {run.requests} | {run.failed} "
        f"| {' | '.join(f'{size:.0f}' for size in run.later_mb[:SHARE])} |"
        for run in runs
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
