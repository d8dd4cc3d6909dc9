"""Make a large image from the demo's validation images, and the instances in it.

    python build_tools/make_mosaic.py mosaic.png --size 4000 --seed 1

Validation images are laid in rows, in random order and with random gaps, on a noisy ground. The
instances go to a COCO file of the same name. The same seed gives the same image.
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from maskrcnn_server.rle import RLE, from_compressed

VALIDATION = Path(__file__).parent.parent / "tests/demo/val200"
MAX_GAP = 24
"""Maximum distance in pixels of an image from the next one."""


class Placed(NamedTuple):
    """An instance in the mosaic."""

    category_id: int
    y: int
    x: int
    mask: RLE
    """Mask in the image that was laid at (y, x)."""


class Mosaic(NamedTuple):
    """A large image, and what it was made of."""

    pixels: NDArray[np.uint8]
    """uint8 (height, width, 3), RGB."""
    instances: list[Placed]
    images: list[tuple[Path, int, int]]
    """Each validation image with its y and x."""


def mosaic(height: int, width: int, seed: int, validation: Path = VALIDATION) -> Mosaic:
    """A mosaic of so many pixels; images that would not fit are left out."""
    random = np.random.default_rng(seed)
    truth = json.loads((validation / "instances.json").read_text())
    by_image: dict[int, list[dict[str, Any]]] = {}
    for annotation in truth["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    pixels = np.empty((height, width, 3), np.uint8)
    for y in range(0, height, 256):
        rows = pixels[y : y + 256]
        rows[:] = random.integers(90, 150, rows.shape, np.uint8)
    made = Mosaic(pixels, [], [])
    y = int(random.integers(MAX_GAP))
    while y < height:
        x, row = int(random.integers(MAX_GAP)), 0
        while x < width:
            entry = truth["images"][int(random.integers(len(truth["images"])))]
            file = validation / "images" / entry["file_name"]
            with PIL.Image.open(file) as image:
                laid = np.asarray(image.convert("RGB"))
            h, w = laid.shape[:2]
            if x + w > width or y + h > height:
                break
            pixels[y : y + h, x : x + w] = laid
            made.images.append((file, y, x))
            for annotation in by_image.get(entry["id"], []):
                mask = from_compressed(annotation["segmentation"]["counts"], (h, w))
                made.instances.append(Placed(annotation["category_id"], y, x, mask))
            x += w + int(random.integers(MAX_GAP))
            row = max(row, h)
        if not row:
            break
        y += row + int(random.integers(MAX_GAP))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=4000, help="height and width in pixels")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    made = mosaic(given.size, given.size, given.seed)
    PIL.Image.fromarray(made.pixels).save(given.out)
    print(f"{given.out}: {len(made.images)} images, {len(made.instances)} instances")


if __name__ == "__main__":
    main()
