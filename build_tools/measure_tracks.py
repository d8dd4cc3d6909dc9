#!/usr/bin/env python3
"""Measure tracks in clips of moving shapes: IDF1 and MOTA against the truth.

measure_tracks.py [--seeds 1,2,3] [--frames 90]

The model is the demo's. `boxes` are the tracker's own figures on the true boxes of each frame,
`model` those on what the model detects. Distances are of boxes (IoU of 0.5 or more), whatever the
category; figures are of `motmetrics` (`pip install motmetrics`). `category` is the share of
matched sightings whose track has the category of the object.
"""

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import motmetrics
import numpy as np
from numpy.typing import NDArray

from maskrcnn_predict.local import ModelSpec
from maskrcnn_server.detections import Detections
from maskrcnn_server.masks import BitMasks
from maskrcnn_server.options import Options
from maskrcnn_video.tracking import FLOOR, Tracker

DEMO = Path(__file__).parents[1] / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
METRICS = ["idf1", "mota", "num_switches", "num_misses", "num_false_positives"]


def real(objects: Any, shown: Any) -> tuple[Detections, list[int]]:
    """The objects of a frame as faultless detections, and their numbers."""
    seen = [i for i, mask in enumerate(shown.masks) if mask.any()]
    masks = np.array([shown.masks[i] for i in seen]).reshape(-1, *shown.pixels.shape[:2])
    return (
        Detections(
            size=(shown.pixels.shape[0], shown.pixels.shape[1]),
            boxes=np.array([_box(mask) for mask in masks], np.float32).reshape(-1, 4),
            scores=np.ones(len(seen), np.float32),
            category_ids=np.array([objects[i].category_id for i in seen], np.int64),
            masks=BitMasks(masks),
        ),
        seen,
    )


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def apart(real: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.float64]:
    """1 - IoU of corners, (N, 4) and (M, 4), to (N, M); NaN from 0.5 on."""
    low = np.maximum(real[:, None, :2], found[None, :, :2])
    high = np.minimum(real[:, None, 2:], found[None, :, 2:])
    both = (high - low).clip(0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (real, found)]
    distances = 1 - both / (areas[0][:, None] + areas[1][None] - both)
    return np.where(distances <= 0.5, distances, np.nan)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--frames", type=int, default=90)
    given = parser.parse_args()
    maker = import_module("make_clip")
    counts: dict[str, list[Any]] = {"boxes": [], "model": []}
    right = {"boxes": [0, 0], "model": [0, 0]}
    with ModelSpec(address=str(DEMO), backend="tensorpack").open(2) as model:
        for seed in map(int, given.seeds.split(",")):
            objects, frames = maker.clip(given.frames, seed)
            trackers = {name: Tracker(float(maker.RATE)) for name in counts}
            kept = {name: motmetrics.MOTAccumulator(auto_id=True) for name in counts}
            matched: dict[str, list[tuple[int, int]]] = {name: [] for name in counts}
            for number, shown in enumerate(frames):
                truth, seen = real(objects, shown)
                (found,) = model.predict([shown.pixels], Options(score_threshold=FLOOR))
                for name, detections in (("boxes", truth), ("model", found)):
                    tracks = trackers[name].see(number, detections)
                    boxes = np.array([one.sightings[number].box for one in tracks], np.float32)
                    distances = apart(truth.boxes, boxes.reshape(-1, 4))
                    kept[name].update(seen, [one.number for one in tracks], distances)
                    events = kept[name].mot_events.loc[number]
                    pairs = events[events.Type.isin(["MATCH", "SWITCH"])]
                    matched[name] += list(zip(pairs.OId, pairs.HId, strict=True))
            for name, all_kept in counts.items():
                all_kept.append(kept[name])
                for real_id, track in matched[name]:
                    category = trackers[name].tracks[int(track)].category_id
                    right[name][0] += category == objects[int(real_id)].category_id
                    right[name][1] += 1
    host = motmetrics.metrics.create()
    for name, kept_of in counts.items():
        table = host.compute_many(
            kept_of,
            metrics=METRICS,
            names=list(map(str, range(len(kept_of)))),
            generate_overall=True,
        )
        figures = " ".join(f"{k} {table.loc['OVERALL'][k]:.3f}" for k in METRICS)
        share = right[name][0] / max(1, right[name][1])
        sys.stdout.write(f"{name}: {figures} category {share:.3f}\n")


if __name__ == "__main__":
    main()
