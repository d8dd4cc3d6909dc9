#!/usr/bin/env python
"""Compares one process, two shards and two workers on Ray, on the two cores of this machine.

Each predicts for the same images with the demo model, in turn and several times, because other
programs may run; the best of each counts, from its first result to its last. With --memory, the
memory of Ray's workers is measured instead, over as many images.

    python build_tools/compare_fleet.py --images 400 --rounds 3
    python build_tools/compare_fleet.py --images 5000 --memory
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import PIL.Image
import psutil

MODEL = (
    Path(__file__).parents[1] / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
).absolute()
DONE = re.compile(r": \d+ instances|^\d+ images, \d+ instances")
WAYS: dict[str, list[list[str]]] = {
    "one process, two threads": [[]],
    "two shards, a thread each": [["--shard", "0/2"], ["--shard", "1/2"]],
    "Ray, two workers, a thread each": [["--ray", "auto", "--workers", "2"]],
}
"""Options of each process, by what is compared."""
SIDE = 96
SAMPLE_S = 1.0


def pictures(folder: Path, count: int) -> None:
    """Images of rectangles on noise."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    for i in range(count):
        pixels = generator.integers(0, 80, (SIDE, SIDE, 3), np.uint8)
        top, left = generator.integers(5, 40, 2)
        pixels[top : top + 40, left : left + 40] = generator.integers(120, 255, 3)
        PIL.Image.fromarray(pixels).save(folder / f"{i}.jpg", quality=90)


def predict(folder: Path, out: Path, *options: str, threads: int) -> subprocess.Popen[str]:
    """Start a process of `predict`."""
    command = [sys.executable, "-m", "maskrcnn_handlers", "predict", str(folder), *options]
    command += ["--model", str(MODEL), "--json", str(out), "--restart"]
    env = {**os.environ, "MASKRCNN_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)


def rate(processes: list[subprocess.Popen[str]], count: int) -> float:
    """Images a second of processes that share the images, from their first results on."""
    times: list[float] = []
    sizes: list[int] = []

    def read(process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            if DONE.search(line):
                times.append(time.monotonic())
                images = re.match(r"(\d+) images, ", line)
                sizes.append(int(images[1]) if images else 1)

    threads = [threading.Thread(target=read, args=(each,)) for each in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if any(process.wait() for process in processes):
        raise SystemExit("a process failed")
    if sizes and sizes[-1] == count:  # The line that sums up the run.
        del times[-1], sizes[-1]
    return (count - sizes[0]) / (times[-1] - times[0])


def watch(root: int, samples: dict[int, list[int]], is_over: threading.Event) -> None:
    """Keep the memory of each worker, in MiB, until the end."""
    while not is_over.wait(SAMPLE_S):
        for process in psutil.process_iter(["cmdline", "memory_info"]):
            names = process.info["cmdline"] or [""]
            if names[0].startswith("ray::Worker") and root in {p.pid for p in process.parents()}:
                size = process.info["memory_info"].rss >> 20
                samples.setdefault(process.pid, []).append(size)


def memory(folder: Path, out: Path, count: int) -> None:
    """Print the memory of Ray's workers at quarters of the run."""
    process = predict(folder, out, "--ray", "auto", "--workers", "2", threads=1)
    samples: dict[int, list[int]] = {}
    is_over = threading.Event()
    # A cluster that is started here is a child of the command.
    watcher = threading.Thread(target=watch, args=(process.pid, samples, is_over))
    watcher.start()
    try:
        found = rate([process], count)
    finally:
        is_over.set()
        watcher.join()
    sys.stdout.write(f"{count} images, {found:.1f} a second\n")
    for sizes in samples.values():
        shown = [sizes[min(len(sizes) - 1, len(sizes) * i // 4)] for i in range(5)]
        sys.stdout.write(f"a worker's MiB at 0, 25, 50, 75, 100 %: {shown}, most {max(sizes)}\n")


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name) / "photos", Path(name) / "all.json"
        pictures(folder, args.images)
        if args.memory:
            memory(folder, out, args.images)
            return
        best: dict[str, float] = {}
        for _ in range(args.rounds):
            for way, options in WAYS.items():
                threads = 2 // len(options) if "--ray" not in options[0] else 1
                started = [predict(folder, out, *each, threads=threads) for each in options]
                best[way] = max(best.get(way, 0), rate(started, args.images))
        first = next(iter(best.values()))
        for way, found in best.items():
            sys.stdout.write(f"{way}: {found:.1f} images a second, {found / first:.2f}\n")


if __name__ == "__main__":
    main()
