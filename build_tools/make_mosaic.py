"""Make a large image from the demo's validation images.

    python build_tools/make_mosaic.py mosaic.png --size 4000 --seed 1

Validation images are laid in the squares of a grid, each somewhere in its square. What is between
them continues their colours, out of focus, or is gray: then each image is a rectangle with sharp
borders, which a model that knows squares takes for one. The same seed gives the same image.
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
GRAY = 114
"""Gray of what is between images, if it does not continue their colours."""


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


def mosaic(
    height: int, width: int, seed: int, validation: Path = VALIDATION, *, is_gray: bool = False
) -> Mosaic:
    """A mosaic of so many pixels; `is_gray` leaves gray between the images."""
    random = np.random.default_rng(seed)
    truth = json.loads((validation / "instances.json").read_text())
    by_image: dict[int, list[dict[str, Any]]] = {}
    for annotation in truth["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    made = Mosaic(np.full((height, width, 3), GRAY, np.uint8), [], [])
    known = np.zeros((height, width), np.bool_)
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
            known[y : y + h, x : x + w] = True
            made.images.append((file, y, x))
            for annotation in by_image.get(entry["id"], []):
                mask = from_compressed(annotation["segmentation"]["counts"], (h, w))
                made.instances.append(Placed(annotation["category_id"], y, x, mask))
    return made if is_gray else made._replace(pixels=continued(made.pixels, known))


def continued(pixels: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The image with what is not known interpolated from what is.

    `pixels` is uint8 (height, width, 3), `known` bool (height, width). The image is halved until
    all of it is known, and what is missing at each size is taken from the next smaller one
    ("pull-push": Gortler et al., The Lumigraph, 1996).
    """
    sums = [np.dstack([np.where(known[..., None], pixels, 0), known]).astype(np.float32)]
    while not (sums[-1][..., 3] >= 1).all() and max(sums[-1].shape[:2]) > 1:
        sums.append(_halved(sums[-1]))
    weight = sums[-1][..., 3:]
    filled = sums[-1][..., :3] / np.maximum(weight, 1e-6)
    for level in reversed(sums[:-1]):
        larger = (2 * filled.shape[1], 2 * filled.shape[0])
        channels = [
            PIL.Image.fromarray(channel).resize(larger, PIL.Image.Resampling.BILINEAR)
            for channel in filled.transpose(2, 0, 1)
        ]
        below = np.dstack([np.asarray(channel) for channel in channels])
        below = below[: level.shape[0], : level.shape[1]]
        filled = level[..., :3] + (1 - level[..., 3:]) * below
    rounded = np.clip(filled + 0.5, 0, 255).astype(np.uint8)
    return np.where(known[..., None], pixels, rounded)


def _halved(sums: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of two by two pixels: float32 (height, width, 4), colours times weight, and weight."""
    height, width = sums.shape[:2]
    even = np.pad(sums, ((0, height % 2), (0, width % 2), (0, 0)))
    pairs = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, 4)
    means: NDArray[np.float32] = pairs.mean((1, 3), dtype=np.float32)
    return means


def main() -> None:
    """Write the mosaic that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=4000, help="height and width in pixels")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gray", action="store_true", help="gray between the images")
    given = parser.parse_args()
    made = mosaic(given.size, given.size, given.seed, is_gray=given.gray)
    PIL.Image.fromarray(made.pixels).save(given.out)
    sys.stdout.write(f"{given.out}: {len(made.images)} images, {len(made.instances)} instances\n")


if __name__ == "__main__":
    main()
