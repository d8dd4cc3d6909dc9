#!/usr/bin/env python3
"""Measure what a process of its own costs a call of a model: images there, detections back.

measure_isolation.py [--calls 50]

The model answers a hundred instances with soft masks without looking, so that nothing else takes
time. Seconds of the clock, and of this process' and the model's processor, medians in ms.
"""

import argparse
import statistics
import sys
import time

import numpy as np

from maskrcnn_server.backend import PredictOptions
from maskrcnn_study.faulty import load_still
from maskrcnn_workers.isolated import IsolatedModel

SIZES = ((480, 640), (1200, 1600), (3000, 4000), (5000, 10000))
"""Height and width."""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=50)
    options = parser.parse_args()
    inside, isolated = load_still(), IsolatedModel(load_still, name="still")
    lines = [
        "| image | MB | in the server | isolated | of it, this process |",
        "| --- |" + 4 * " ---: |",
    ]
    for size in SIZES:
        image = np.full((*size, 3), 100, np.uint8)
        rows: list[tuple[float, float, float]] = []
        for _ in range(options.calls):
            start, spent = time.perf_counter(), time.process_time()
            isolated.predict([image], PredictOptions())
            apart, busy = time.perf_counter() - start, time.process_time() - spent
            start = time.perf_counter()
            inside.predict([image], PredictOptions())
            rows.append((time.perf_counter() - start, apart, busy))
        cells = " | ".join(
            f"{1000 * statistics.median(column):.1f}" for column in zip(*rows, strict=True)
        )
        lines.append(f"| {size[1]} x {size[0]} | {image.nbytes / 1e6:.0f} | {cells} |")
    isolated.close()
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
