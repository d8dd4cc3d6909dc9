"""Make a large image from the demo's validation images.

    python build_tools/make_mosaic.py mosaic.png --size 4000 --seed 1

Validation images are laid in the squares of a grid, each somewhere in its square, on gray. The same
seed gives the same image.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from maskrcnn_server.rle import RLE, from_compressed

VALIDATION = Path(__file__).parent.parent / "tests/demo/val200"
CELL = 400
"""Pixels of the squares in each of which one image lies somewhere."""
GROUND = 114
"""Gray of what is between images."""


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
    """A mosaic of so many pixels."""
    random = np.random.default_rng(seed)
    truth = json.loads((validation / "instances.json").read_text())
    by_image: dict[int, list[dict[str, Any]]] = {}
    for annotation in truth["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    made = Mosaic(np.full((height, width, 3), GROUND, np.uint8), [], [])
    images = truth["images"]
    for top in range(0, height - CELL + 1, CELL):
        for left in range(0, width - CELL + 1, CELL):
            entry = images[int(random.integers(len(images)))]
            file = validation / "images" / entry["file_name"]
            with PIL.Image.open(file) as image:
                laid = np.asarray(image.convert("RGB"))
            h, w = laid.shape[:2]
            y = top + int(random.integers(CELL - h + 1))
            x = left + int(random.integers(CELL - w + 1))
            made.pixels[y : y + h, x : x + w] = laid
            made.images.append((file, y, x))
            for annotation in by_image.get(entry["id"], []):
                mask = from_compressed(annotation["segmentation"]["counts"], (h, w))
                made.instances.append(Placed(annotation["category_id"], y, x, mask))
    return made


def main() -> None:
    """Write the mosaic that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=4000, help="height and width in pixels")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    made = mosaic(given.size, given.size, given.seed)
    PIL.Image.fromarray(made.pixels).save(given.out)
    sys.stdout.write(f"{given.out}: {len(made.images)} images, {len(made.instances)} instances\n")


if __name__ == "__main__":
    main()
