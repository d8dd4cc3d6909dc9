"""Make a clip of moving shapes from the demo's validation images.

    python build_tools/make_clip.py clip.mp4 --frames 90 --seed 1

Objects that are wholly seen are cut out of validation images, and move over a blurred one; they
bounce at the borders, and pass in front of one another. The truth is written as MOTS' text beside
the clip. The same seed gives the same frames.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageFilter
from numpy.typing import NDArray

from maskrcnn_server.rle import edges, from_compressed, from_edges
from maskrcnn_video.clip import ClipWriter

VALIDATION = Path(__file__).parent.parent / "tests/demo/val200"
SIDE = 320
"""Height and width of a frame."""
SPEED = 5.0
"""Pixels a frame, at most, along each axis."""
BLUR = 14
"""Radius in pixels of the blur of the background, in which no object is left."""
MIN_AREA = 500
"""Area in pixels from which an object is used."""
RATE = Fraction(25)


class Moving(NamedTuple):
    """An object, cut out."""

    category_id: int
    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    start: NDArray[np.float64]
    speed: NDArray[np.float64]
    """Down and right, in pixels a frame."""


class Shown(NamedTuple):
    """A frame, and what is seen of each object in it: bool (height, width)."""

    pixels: NDArray[np.uint8]
    masks: list[NDArray[np.bool_]]


def clip(
    frames: int, seed: int, objects: int = 6, validation: Path = VALIDATION
) -> tuple[list[Moving], Iterator[Shown]]:
    """The objects of a clip, the last on top, and its frames."""
    random = np.random.default_rng(seed)
    truth = json.loads((validation / "instances.json").read_text())
    names = {image["id"]: image["file_name"] for image in truth["images"]}
    chosen: list[Moving] = []
    while len(chosen) < objects:
        one = truth["annotations"][int(random.integers(len(truth["annotations"])))]
        pixels = _opened(validation / "images" / names[one["image_id"]])
        size = pixels.shape[0], pixels.shape[1]
        y, x, mask = from_compressed(one["segmentation"]["counts"], size).window()
        height, width = mask.shape
        is_cut = y == 0 or x == 0 or y + height == size[0] or x + width == size[1]
        if is_cut or one["area"] < MIN_AREA or one["area"] < 0.45 * height * width:
            continue
        room = np.array([SIDE - height, SIDE - width])
        cut = pixels[y : y + height, x : x + width]
        speed = random.uniform(-SPEED, SPEED, 2)
        chosen.append(Moving(one["category_id"], cut, mask, random.uniform(0, room), speed))
    ground = _opened(validation / "images" / names[int(random.integers(len(names))) + 1])
    blurred = PIL.Image.fromarray(ground).filter(PIL.ImageFilter.GaussianBlur(BLUR))
    background = np.asarray(blurred.resize((SIDE, SIDE)))
    return chosen, (_shown(background, chosen, number) for number in range(frames))


def _shown(background: NDArray[np.uint8], objects: list[Moving], number: int) -> Shown:
    pixels, masks = background.copy(), [np.zeros((SIDE, SIDE), np.bool_) for _ in objects]
    for i, one in enumerate(objects):
        height, width = one.mask.shape
        room = np.array([SIDE - height, SIDE - width])
        # A triangle wave: there and back again.
        turned = np.mod(one.start + number * one.speed, 2 * room)
        y, x = np.minimum(turned, 2 * room - turned).astype(int)
        pixels[y : y + height, x : x + width][one.mask] = one.pixels[one.mask]
        for below in masks[:i]:
            below[y : y + height, x : x + width] &= ~one.mask
        masks[i][y : y + height, x : x + width] = one.mask
    return Shown(pixels, masks)


def _opened(path: Path) -> NDArray[np.uint8]:
    with PIL.Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def mots(objects: list[Moving], number: int, shown: Shown) -> Iterator[str]:
    """Lines of MOTS for one frame."""
    for i, (one, mask) in enumerate(zip(objects, shown.masks, strict=True), 1):
        if mask.any():
            size = (SIDE, SIDE)
            run = from_edges([edges(mask.T, (0, 0), SIDE)], size, "columns").compressed()
            yield f"{number} {1000 * one.category_id + i} {one.category_id} {SIDE} {SIDE} {run}\n"


def main() -> None:
    """Write the clip that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=90)
    parser.add_argument("--objects", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    objects, frames = clip(given.frames, given.seed, given.objects)
    with (
        ClipWriter(given.out, (SIDE, SIDE), RATE) as writer,
        given.out.with_suffix(".txt").open("w") as file,
    ):
        for number, shown in enumerate(frames):
            writer.write(shown.pixels)
            file.writelines(mots(objects, number, shown))
    sys.stdout.write(f"{given.out}: {given.frames} frames, {len(objects)} objects\n")


if __name__ == "__main__":
    main()
