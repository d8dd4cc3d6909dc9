#!/usr/bin/env python3
"""Measure this server's request against the old containers' algorithms around the same network.

compare_old_container.py [PICTURE] [--detections 20,100] [--rounds 3] [--json FILE]

The old way, as the public containers had it: the picture goes through a temporary file, each mask
is pasted by an interpolation over its whole box, padded and set into a bitmap of the whole image,
and its run lengths are counted by a loop over every pixel. Both ways use one model in memory, so
that what the network takes is the same; both are timed in turn, and must find the same. The model
is the seeded resnet50 of the tests unless --model names another.
"""

import argparse
import base64
import json
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from maskrcnn_handlers.request.envelope import Envelope
from maskrcnn_handlers.service import Service
from maskrcnn_server import settings as environment
from maskrcnn_server import stopwatch
from maskrcnn_server.backend import Model, PredictOptions
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.hosting.startup import open_model
from maskrcnn_server.masks import RoiMasks
from maskrcnn_server.plugins import Plugins
from maskrcnn_study.benchmark.report import machine

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Row:
    """Medians in milliseconds, and ratios of the same round."""

    detections: int
    network_ms: float
    old_ms: float
    ours_ms: float
    ratio: float
    """Old to ours, from the request's bytes to the reply's."""
    old_rest_ms: float
    ours_rest_ms: float
    rest_ratio: float
    """The same, less the network."""
    differing_pixels: int
    """Of all masks together: ours against the old."""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    picture = ROOT / "tests/images/china.png"
    parser.add_argument("picture", nargs="?", type=Path, default=picture)
    parser.add_argument("--detections", default="20,100")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", help="a model folder of TensorPack's")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model_dir = options.model or _seeded(Path(folder))
        settings = environment.read(model=model_dir, backend="tensorpack", log_level="error")
        model = open_model(Plugins(), settings)
    models = Models.single(Scheduler(model, max_waiting=0))
    service = Service(Plugins().formats(), settings, models)
    counts = [int(number) for number in options.detections.split(",")]
    rows = [_row(service, model, options.picture, count, options.rounds) for count in counts]
    _print(rows, options)
    if options.json:
        content = {"machine": machine(), "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(content, indent=1) + "\n")


def old_answer(body: bytes, model: Model) -> bytes:
    """A reply as the old containers made it; the network is a stage of the stopwatch."""
    asked = json.loads(body)
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(base64.b64decode(asked["img_data"]))
        file.flush()
        read = cv2.imread(file.name, cv2.IMREAD_COLOR)
    if read is None:
        raise ValueError("the picture cannot be read")
    image = np.ascontiguousarray(read[:, :, ::-1], np.uint8)
    options = PredictOptions(score_threshold=0.0, max_detections=asked["max_detections"])
    (found,) = model.predict([image], options)
    soft = found.masks
    if not isinstance(soft, RoiMasks):
        raise TypeError("the model gives no soft masks")
    annotations: list[dict[str, Any]] = []
    for index in range(len(found)):
        mask = pasted(soft.boxes[index], soft.probabilities[index], found.size)
        x1, y1, x2, y2 = found.boxes[index]
        annotations.append(
            {
                "bbox": [int(x1), int(y1), int(x2 - x1), int(y2 - y1)],
                "category_id": int(found.category_ids[index]),
                "category_name": model.metadata.categories[0].name,
                "segmentation": {"counts": counted(mask), "size": list(mask.shape)},
            }
        )
    return json.dumps({"img_id": asked["img_id"], "annotations": annotations}).encode()


def pasted(
    box: NDArray[np.float32], soft: NDArray[np.float32], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """A mask's bitmap: the padded mask interpolated at every pixel of the image."""
    side = soft.shape[0]
    padded = np.pad(soft, 1)
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * (side + 2) / side
    (x1, y1), (x2, y2) = centre - half, centre + half
    height, width = size
    if not (x2 > x1 and y2 > y1):
        return np.zeros(size, np.uint8)
    ys = (np.arange(height) + 0.5 - y1) / (y2 - y1) * (side + 2)
    xs = (np.arange(width) + 0.5 - x1) / (x2 - x1) * (side + 2)
    cells = np.arange(side + 2) + 0.5
    sampled = RegularGridInterpolator((cells, cells), padded, bounds_error=False, fill_value=0.0)
    grid = np.stack(np.meshgrid(ys, xs, indexing="ij"), axis=-1)
    return np.asarray(sampled(grid) >= 0.5, np.uint8)


def counted(mask: NDArray[np.uint8]) -> list[int]:
    """Row-wise run lengths, pixel by pixel."""
    counts: list[int] = []
    value, length = np.uint8(0), 0
    for pixel in mask.flatten():
        if pixel != value:
            counts.append(length)
            value, length = pixel, 0
        length += 1
    counts.append(length)
    return counts


def _row(service: Service, model: Model, picture: Path, count: int, rounds: int) -> Row:
    body = json.dumps(
        {
            "img_id": picture.name,
            "img_data": base64.b64encode(picture.read_bytes()).decode(),
            "score_threshold": 0.0,
            "max_detections": count,
        }
    ).encode()
    old: list[tuple[float, float]] = []
    ours: list[tuple[float, float]] = []
    answers = (b"", b"")
    for turn in range(rounds + 1):
        with stopwatch.listen() as watch:
            begin = time.perf_counter()
            theirs = old_answer(body, model)
            spent = time.perf_counter() - begin
        old_times = (spent, watch.seconds["network"])
        with stopwatch.listen() as watch:
            begin = time.perf_counter()
            reply = service.invoke(Envelope.of(body, "application/json"))
            spent = time.perf_counter() - begin
        answers = (theirs, reply.body)
        # The first is to warm up.
        if turn:
            old.append(old_times)
            ours.append((spent, watch.seconds["network"]))
    network = statistics.median([of_it for _, of_it in old + ours])
    rest = [(a - b, c - d) for (a, b), (c, d) in zip(old, ours, strict=True)]
    found = len(json.loads(answers[0])["annotations"])
    return Row(
        detections=found,
        network_ms=1000 * network,
        old_ms=1000 * statistics.median(a for a, _ in old),
        ours_ms=1000 * statistics.median(a for a, _ in ours),
        # The network's own noise would drown what is compared.
        ratio=statistics.median((network + a) / (network + b) for a, b in rest),
        old_rest_ms=1000 * statistics.median(a for a, _ in rest),
        ours_rest_ms=1000 * statistics.median(b for _, b in rest),
        rest_ratio=statistics.median(a / b for a, b in rest),
        differing_pixels=_differing(*answers),
    )


def _differing(old: bytes, ours: bytes) -> int:
    pairs = zip(json.loads(old)["annotations"], json.loads(ours)["annotations"], strict=True)
    return sum(
        int(np.count_nonzero(_bits(a["segmentation"]) != _bits(b["segmentation"])))
        for a, b in pairs
    )


def _bits(segmentation: dict[str, list[int]]) -> NDArray[np.int64]:
    counts = segmentation["counts"]
    return np.repeat(np.arange(len(counts)) % 2, counts)


def _seeded(folder: Path) -> str:
    """A model folder with the weights that the tests use."""
    sys.path.append(str(ROOT / "tests/golden"))
    from make_weights import weights

    np.savez(folder / "model.npz", allow_pickle=False, **weights("resnet50", "tensorpack"))
    return str(folder)


def _print(rows: list[Row], options: argparse.Namespace) -> None:
    here = machine()
    lines = [
        f"{here['processor']}, {here['cores']} cores, Python {here['python']}; "
        f"{options.picture.name}; medians of {options.rounds} rounds",
        "",
        "| detections | network ms | old ms | ours ms | ratio | old, rest ms | ours, rest ms "
        "| ratio | pixels that differ |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row.detections} | {row.network_ms:.0f} | {row.old_ms:.0f} | {row.ours_ms:.0f} "
        f"| {row.ratio:.2f} | {row.old_rest_ms:.1f} | {row.ours_rest_ms:.1f} "
        f"| {row.rest_ratio:.0f} | {row.differing_pixels} |"
        for row in rows
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
