"""A picture of what was found: masks, boxes and labels drawn over the photograph."""

import base64
import colorsys
import io

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from numpy.typing import NDArray

from maskrcnn_server.backend import Image
from maskrcnn_server.categories import Category
from maskrcnn_server.detections import Detections

OPACITY = 0.45
GOLDEN_ANGLE = 0.381966
"""Of the colour wheel: neighbours in the list are far apart in colour."""


def overlay(image: Image, found: Detections, categories: tuple[Category, ...]) -> PIL.Image.Image:
    """`image` with each instance in a colour of its own, the best on top."""
    names = {category.id: category.name for category in categories}
    pixels = image.copy()
    colours = [_colour(i) for i in range(len(found))]
    if found.masks is not None:
        for mask, colour in reversed(list(zip(found.masks.rle("rows"), colours, strict=True))):
            _tint(pixels, mask.bitmap(), colour)
    picture = PIL.Image.fromarray(pixels)
    draw = PIL.ImageDraw.Draw(picture)
    short = min(found.size)
    font = PIL.ImageFont.load_default(max(10, short / 32))
    line = max(1, round(short / 300))
    for i in reversed(range(len(found))):
        box = found.boxes[i].tolist()
        label = f"{names[int(found.category_ids[i])]} {found.scores[i]:.2f}"
        draw.rectangle(box, outline=colours[i], width=line)
        _label(draw, box, label, colours[i], font)
    return picture


def thumbnail(picture: PIL.Image.Image, width: int) -> str:
    """A picture of this width and height at most, for a page that stands alone: a data URI."""
    small = picture.copy()
    small.thumbnail((width, width), PIL.Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _tint(pixels: Image, bitmap: NDArray[np.bool_], colour: tuple[int, int, int]) -> None:
    inside = pixels[bitmap]
    pixels[bitmap] = (inside * (1 - OPACITY) + np.array(colour) * OPACITY).astype(np.uint8)


def _label(
    draw: PIL.ImageDraw.ImageDraw,
    box: list[float],
    text: str,
    colour: tuple[int, int, int],
    font: PIL.ImageFont.ImageFont | PIL.ImageFont.FreeTypeFont,
) -> None:
    """Write `text` above the box's upper left corner, or inside it where there is no room above."""
    _, _, width, height = draw.textbbox((0, 0), text, font=font)
    x = max(0, min(box[0], draw.im.size[0] - width - 4))
    y = box[1] - height - 2
    if y < 0:
        y = box[1]
    draw.rectangle((x, y, x + width + 3, y + height + 2), fill=colour)
    bright = sum(colour) > 380
    draw.text((x + 2, y), text, fill=(0, 0, 0) if bright else (255, 255, 255), font=font)


def _colour(i: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(i * GOLDEN_ANGLE % 1, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)
