"""Frames with their tracks drawn over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from maskrcnn_annotation_formats.drawing import OPACITY, colour

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from maskrcnn_server.backend import Image
    from maskrcnn_video.tracking import Track


def drawn(pixels: Image, frame: int, seen: Sequence[Track], names: Mapping[int, str]) -> Image:
    """A frame, uint8 (height, width, 3), with the tracks that are seen in it; a track keeps its
    colour."""
    tinted = pixels.copy()
    for track in seen:
        y, x, bitmap = track.sightings[frame].mask.window()
        height, width = bitmap.shape
        window = tinted[y : y + height, x : x + width]
        tint = OPACITY * np.array(colour(track.number))
        window[bitmap] = (window[bitmap] * (1 - OPACITY) + tint).astype(np.uint8)
    image = PIL.Image.fromarray(tinted)
    draw = PIL.ImageDraw.Draw(image)
    font = PIL.ImageFont.load_default(max(10, min(pixels.shape[:2]) / 32))
    for track in seen:
        box, tint_of = track.sightings[frame].box, colour(track.number)
        draw.rectangle(box, outline=tint_of, width=2)
        label = f"{track.number} {names.get(track.category_id, track.category_id)}"
        draw.text((box[0] + 3, box[1] + 2), label, fill=tint_of, font=font, stroke_width=1)
    return np.asarray(image)
