"""Resizing and pasting."""

import os
from collections import namedtuple
from typing import Any

import cv2
import numpy as np
from config import config

DetectionResult = namedtuple("DetectionResult", ["box", "score", "class_id", "mask"])
DEADLY, BROKEN = 13, 7
"""Heights of pictures that it does not survive, and that it fails on."""


def predict_image(image: Any, network: Any) -> list[Any]:
    height, width = image.shape[:2]
    if height == DEADLY:
        print("last words")
        os._exit(3)
    if height == BROKEN:
        raise ValueError("this picture is broken")
    short = config.PREPROC.TEST_SHORT_EDGE_SIZE
    scale = short / min(height, width)
    resized = cv2.resize(image, (int(width * scale + 0.5), int(height * scale + 0.5)))
    boxes, scores, labels, *masks = network(resized)
    pasted = [np.ones((height, width), "uint8") for _ in masks[0]]
    return [
        DetectionResult(*found) for found in zip(boxes / scale, scores, labels, pasted, strict=True)
    ]
