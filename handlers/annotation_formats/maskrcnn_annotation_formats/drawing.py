"""Draws masks, boxes and labels over an image."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from numpy.typing import NDArray

if TYPE_CHECKING:
    from maskrcnn_server.backend import Image
    from maskrcnn_server.categories import Category
    from maskrcnn_server.detections import Detections

Place: TypeAlias = tuple[float, float, float, float]
"""Corners of a label: x1, y1, x2, y2."""

Font: TypeAlias = PIL.ImageFont.ImageFont | PIL.ImageFont.FreeTypeFont

OPACITY = 0.45
"""Share of an instance's colour in the pixels of its mask."""
GOLDEN_ANGLE = 0.381966
"""Fraction of the colour wheel between neighbours in the list, which are far apart in colour."""


def overlay(
    image: Image, detections: Detections, categories: tuple[Category, ...]
) -> PIL.Image.Image:
    """`image` with each instance in a colour of its own, the best on top."""
    names = {category.id: category.name for category in categories}
    pixels = image.copy()
    colours = [colour(i) for i in range(len(detections))]
    if detections.masks is not None:
        for mask, tint in reversed(list(zip(detections.masks.rle("rows"), colours, strict=True))):
            y, x, bitmap = mask.window()
            height, width = bitmap.shape
            _tint(pixels[y : y + height, x : x + width], bitmap, tint)
    drawn = PIL.Image.fromarray(pixels)
    draw = PIL.ImageDraw.Draw(drawn)
    short = min(detections.size)
    font = PIL.ImageFont.load_default(max(10, short / 32))
    line = max(1, round(short / 300))
    labels = [
        f"{names[int(category)]} {score:.2f}"
        for category, score in zip(detections.category_ids, detections.scores, strict=True)
    ]
    places: list[Place] = []
    for box, label in zip(detections.boxes.tolist(), labels, strict=True):
        places.append(_place(draw, box, label, font, places))
    for i in reversed(range(len(detections))):
        draw.rectangle(detections.boxes[i].tolist(), outline=colours[i], width=line)
    for i in reversed(range(len(detections))):
        _label(draw, places[i], labels[i], colours[i], font)
    return drawn


def _tint(pixels: Image, bitmap: NDArray[np.bool_], colour: tuple[int, int, int]) -> None:
    inside = pixels[bitmap]
    pixels[bitmap] = (inside * (1 - OPACITY) + np.array(colour) * OPACITY).astype(np.uint8)


def _place(
    draw: PIL.ImageDraw.ImageDraw, box: list[float], text: str, font: Font, taken: list[Place]
) -> Place:
    """Where a label stands: at the box's left, above it, or inside where there is no room; below
    those of better instances that it would cover, while the image has room."""
    _, _, width, height = draw.textbbox((0, 0), text, font=font)
    width, height = width + 4, height + 3
    x = max(0, min(box[0], draw.im.size[0] - width))
    y = first = box[1] - height + 1 if box[1] >= height - 1 else box[1]
    while covered := [
        t for t in taken if t[0] < x + width and x < t[2] and t[1] < y + height and y < t[3]
    ]:
        y = max(place[3] for place in covered)
        if y + height > draw.im.size[1]:
            y = first
            break
    return x, y, x + width, y + height


def _label(
    draw: PIL.ImageDraw.ImageDraw,
    place: Place,
    text: str,
    tint: tuple[int, int, int],
    font: Font,
) -> None:
    x1, y1, x2, y2 = place
    draw.rectangle((x1, y1, x2 - 1, y2 - 1), fill=tint)
    bright = sum(tint) > 380
    draw.text((x1 + 2, y1), text, fill=(0, 0, 0) if bright else (255, 255, 255), font=font)


def colour(i: int) -> tuple[int, int, int]:
    """The colour of the i-th instance."""
    red, green, blue = colorsys.hsv_to_rgb(i * GOLDEN_ANGLE % 1, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)
