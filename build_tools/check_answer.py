#!/usr/bin/env python3
"""Ask a running server for the instances in a picture, and hold them against a reference.

    check_answer.py URL PICTURE REFERENCE

REFERENCE is a golden file (.npz) of what the original code found, as in tests/demo/golden, or a
model folder: then against what this environment's backend finds. Exit code 1 if an instance is
missing or surplus, or a score or a mask differs by more than float noise.
"""

import argparse
import base64
import json
import sys
import urllib.request
from pathlib import Path

import numpy as np
import PIL.Image

from maskrcnn_annotation_formats.reading import annotations, prediction
from maskrcnn_server.agreement import compare
from maskrcnn_server.backend import Image, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.hosting.startup import open_model
from maskrcnn_server.masks import BitMasks
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import read

SCORE_THRESHOLD = 0.5
BOX_TOLERANCE = 2
"""Pixels: the notebooks' format has whole ones. The masks tell what is finer."""
SCORE_TOLERANCE = 2e-4
MASK_IOU = 0.99


def main() -> None:
    """Compare, print a line, and exit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("picture", type=Path)
    parser.add_argument("reference", type=Path)
    given = parser.parse_args()
    picture = given.picture.read_bytes()
    image = np.array(PIL.Image.open(given.picture).convert("RGB"))
    found = ask(given.url, picture, image)
    read_reference = from_model if given.reference.is_dir() else from_golden
    reference = read_reference(given.reference, image)
    result = compare(found, reference, BOX_TOLERANCE)
    scores = result.score_differences.max(initial=0)
    iou = result.mask_ious.min(initial=1)
    same = len(result.mask_ious) == len(result.pairs) or reference.masks is None
    agrees = same and scores <= SCORE_TOLERANCE and iou >= MASK_IOU
    sys.stdout.write(
        f"{len(found)} instances, {len(result.missing)} missing, {len(result.surplus)} surplus, "
        f"scores within {scores:.6f}, masks' IoU at least {iou:.4f}\n"
    )
    if not reference.scores.size or result.missing or result.surplus or not agrees:
        sys.exit(f"{given.url} does not answer as {given.reference} does")


def ask(url: str, picture: bytes, image: Image) -> Detections:
    """What the server finds, asked as the notebooks ask."""
    body = {
        "img_id": "smoke",
        "img_data": base64.b64encode(picture).decode(),
        "score_threshold": SCORE_THRESHOLD,
    }
    request = urllib.request.Request(
        f"{url}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    # The environment's proxy does not lead to a server on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as reply:
        return prediction(annotations(json.load(reply)), image).detections


def from_golden(file: Path, image: Image) -> Detections:
    """What the original code found, above the threshold."""
    golden = np.load(file)
    order = np.argsort(-golden["scores"], kind="stable")
    order = order[golden["scores"][order] >= SCORE_THRESHOLD]
    height, width = image.shape[:2]
    masks = np.unpackbits(golden["masks_accurate"][order], axis=2)[:, :, :width]
    # The original clips only the upper corner: a box beyond the edge is inverted.
    boxes = np.minimum(golden["boxes"][order], [width, height, width, height])
    return Detections(
        size=(height, width),
        boxes=boxes.astype(np.float32),
        scores=golden["scores"][order].astype(np.float32),
        category_ids=golden["class_ids"][order].astype(np.int64),
        masks=BitMasks(masks.astype(np.bool_)),
    )


def from_model(folder: Path, image: Image) -> Detections:
    """What the backend in this environment finds with the model."""
    model = open_model(Plugins(), read(model=str(folder)))
    try:
        (found,) = model.predict([image], PredictOptions(score_threshold=SCORE_THRESHOLD))
    finally:
        model.close()
    return found


if __name__ == "__main__":
    main()
