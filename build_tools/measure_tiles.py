#!/usr/bin/env python3
"""Measure what tiles find in mosaics, compared with single images and other ways to merge.

measure_tiles.py [--seeds 4,5,6] [--size 2400] [--tile 320] [--overlap 0.25] [--gray] [--library]

The model is the demo's. Precision and recall are at a score of 0.5 and a mask IoU of 0.5, AP is
pycocotools' of masks, of all mosaics together. `--library` adds SAHI's slices
(`pip install sahi opencv-python-headless`), merged as it does by default.
"""

import argparse
import contextlib
import io
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import pycocotools.mask
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskrcnn_predict.local import LocalModel, ModelSpec
from maskrcnn_server.options import Options
from maskrcnn_tiles.grid import Grid, Tile
from maskrcnn_tiles.part import parts
from maskrcnn_tiles.predicting import FLOOR, Tiling, instances
from maskrcnn_tiles.windows import Decoded

DEMO = Path(__file__).parents[1] / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
SCORE = 0.5
"""Score from which precision and recall count an instance."""
IOU = 0.5
"""Intersection over union of masks from which an instance is found."""


class Detection(NamedTuple):
    """An instance in the mosaic."""

    category_id: int
    score: float
    place: Tile
    bitmap: NDArray[np.bool_]


class Ways:
    """Ways to find the instances in a mosaic, by one model."""

    def __init__(self, model: LocalModel, tile: int, overlap: float) -> None:
        self._model, self._tile, self._overlap = model, tile, overlap

    def see(self, pixels: NDArray[np.uint8]) -> Any:
        """Detections of every score that counts."""
        options = Options(score_threshold=FLOOR)
        (found,) = self._model.predict([np.ascontiguousarray(pixels)], options)
        return found

    def singly(self, made: Any) -> Iterator[Detection]:
        """The images one by one, as they were before they were laid."""
        for path, y, x in made.images:
            with PIL.Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            size = pixels.shape[0], pixels.shape[1]
            for part in parts(Grid(size, size, 0), Tile(0, 0, *size), self.see(pixels)):
                place = part.place._replace(y=part.place.y + y, x=part.place.x + x)
                yield Detection(part.category_id, part.score, place, part.bitmap())

    def whole(self, made: Any) -> Iterator[Detection]:
        """The mosaic in one."""
        size = made.pixels.shape[0], made.pixels.shape[1]
        for part in parts(Grid(size, size, 0), Tile(0, 0, *size), self.see(made.pixels)):
            yield Detection(part.category_id, part.score, part.place, part.bitmap())

    def naive(self, made: Any) -> Iterator[Detection]:
        """What each tile shows, without merging."""
        size, side = (made.pixels.shape[0], made.pixels.shape[1]), self._tile
        grid = Grid(size, (side, side), self._overlap)
        for tile in grid:
            shown = self.see(made.pixels[tile.y : tile.bottom, tile.x : tile.right])
            for part in parts(grid, tile, shown):
                yield Detection(part.category_id, part.score, part.place, part.bitmap())

    def tiles(self, made: Any) -> Iterator[Detection]:
        """Tiles, merged."""
        tiling = Tiling((self._tile, self._tile), self._overlap)
        for one in instances(Decoded(made.pixels), tiling, self.see):
            yield Detection(one.category_id, one.score, one.place, one.bitmap())

    def library_nms(self, made: Any) -> Iterator[Detection]:
        """SAHI's slices with every score that counts, for which it chooses NMS."""
        return self.library(made, FLOOR)

    def library(self, made: Any, confidence: float = 0.3) -> Iterator[Detection]:
        """SAHI's slices, merged by its defaults."""
        from sahi.models.base import DetectionModel
        from sahi.predict import get_sliced_prediction
        from sahi.prediction import ObjectPrediction

        ways = self

        class Demo(DetectionModel):  # type: ignore[misc]
            """The model as SAHI calls it."""

            def load_model(self) -> None:
                self.model = ways

            def perform_inference(self, image: NDArray[np.uint8]) -> None:
                self._original_predictions = ways.see(image)

            def _create_object_prediction_list_from_original_predictions(
                self, shift_amount_list: Any = None, full_shape_list: Any = None
            ) -> None:
                shift, shape = (shift_amount_list or [0, 0]), full_shape_list
                shift = shift[0] if isinstance(shift[0], list) else shift
                shape = shape[0] if shape and isinstance(shape[0], list) else shape
                found, made = self._original_predictions, []
                for i, run in enumerate(found.masks.rle("rows")):
                    bitmap = run.bitmap().astype(np.uint8)
                    segments = _polygons(bitmap)
                    if segments:
                        made.append(
                            ObjectPrediction(
                                segmentation=segments,
                                category_id=int(found.category_ids[i]),
                                category_name=str(found.category_ids[i]),
                                score=float(found.scores[i]),
                                shift_amount=shift,
                                full_shape=shape or list(found.size),
                            )
                        )
                self._object_prediction_list_per_image = [made]

        result = get_sliced_prediction(
            made.pixels,
            Demo(confidence_threshold=confidence, device="cpu"),
            slice_height=self._tile,
            slice_width=self._tile,
            overlap_height_ratio=self._overlap,
            overlap_width_ratio=self._overlap,
            perform_standard_pred=False,
            verbose=0,
        )
        for one in result.object_prediction_list:
            bitmap = one.mask.bool_mask  # as large as the mosaic, and made anew each time
            rows, columns = np.flatnonzero(bitmap.any(1)), np.flatnonzero(bitmap.any(0))
            if len(rows):
                y, x, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
                place = Tile(int(y), int(x), int(bottom - y), int(right - x))
                yield Detection(
                    one.category.id, one.score.value, place, bitmap[y:bottom, x:right].copy()
                )


def _polygons(bitmap: NDArray[np.uint8]) -> list[list[float]]:
    """The outlines of a bitmap as SAHI takes them."""
    import cv2

    outlines, _ = cv2.findContours(bitmap, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [outline.ravel().tolist() for outline in outlines if len(outline) >= 3]


def truth(made: Any) -> Iterator[Detection]:
    """What is in a mosaic."""
    for one in made.instances:
        y, x, bitmap = one.mask.window()
        yield Detection(one.category_id, 1.0, Tile(one.y + y, one.x + x, *bitmap.shape), bitmap)


def iou(one: Detection, other: Detection) -> float:
    """Intersection over union of masks; 0 for different categories."""
    common = one.place.common(other.place)
    if common is None or one.category_id != other.category_id:
        return 0.0
    both = np.count_nonzero(_within(one, common) & _within(other, common))
    return float(both / (one.bitmap.sum() + other.bitmap.sum() - both))


def hits(real: Sequence[Detection], found: Sequence[Detection]) -> tuple[int, int]:
    """Number of found instances that are real, and of all that score enough."""
    counted = sorted((f for f in found if f.score >= SCORE), key=lambda one: -one.score)
    left, right = list(real), 0
    for one in counted:
        best = max(left, key=lambda other: iou(one, other), default=None)
        if best is not None and iou(one, best) >= IOU:
            left.remove(best)
            right += 1
    return right, len(counted)


def average_precision(
    mosaics: Sequence[tuple[Sequence[Detection], Sequence[Detection]]], size: int
) -> tuple[float, float]:
    """AP and AP at an IoU of 0.5, of (real, found) instances of each mosaic."""
    images = [{"id": i, "height": size, "width": size} for i in range(1, len(mosaics) + 1)]
    real = [_entry(one, i, size) for i, (ones, _) in enumerate(mosaics, 1) for one in ones]
    for number, entry in enumerate(real, 1):
        entry["id"] = number
    found = [_entry(one, i, size) for i, (_, ones) in enumerate(mosaics, 1) for one in ones]
    if not found:
        return 0.0, 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        names = [{"id": n, "name": str(n)} for n in sorted({e["category_id"] for e in real})]
        coco.dataset = {"images": images, "annotations": real, "categories": names}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "segm")
        evaluation.params.maxDets = [1, 10, 10_000]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    return float(precision.mean()), float(precision[0].mean())


def _entry(one: Detection, image: int, size: int) -> dict[str, Any]:
    full = np.zeros((size, size), np.uint8, order="F")
    place = one.place
    full[place.y : place.bottom, place.x : place.right] = one.bitmap
    mask = pycocotools.mask.encode(full)
    box = [place.x, place.y, place.width, place.height]
    common = {"image_id": image, "category_id": one.category_id, "segmentation": mask}
    return {**common, "score": one.score, "bbox": box, "area": int(full.sum()), "iscrowd": 0}


def _within(found: Detection, place: Tile) -> NDArray[np.bool_]:
    y, x = place.y - found.place.y, place.x - found.place.x
    return found.bitmap[y : y + place.height, x : x + place.width]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="4,5,6")
    parser.add_argument("--size", type=int, default=2400)
    parser.add_argument("--tile", type=int, default=320)
    parser.add_argument("--overlap", type=float, default=0.25)
    parser.add_argument("--gray", action="store_true")
    parser.add_argument("--library", action="store_true")
    given = parser.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    mosaic = import_module("make_mosaic").mosaic
    made = [mosaic(given.size, given.size, seed, is_gray=given.gray) for seed in seeds]
    real = [list(truth(one)) for one in made]
    megapixels = len(made) * given.size**2 / 1e6
    with ModelSpec(address=str(DEMO), backend="tensorpack").open(2) as model:
        ways = Ways(model, given.tile, given.overlap)
        chosen = [ways.singly, ways.whole, ways.naive, ways.tiles]
        for way in [*chosen, *([ways.library, ways.library_nms] if given.library else [])]:
            start = time.perf_counter()
            found = [list(way(one)) for one in made]
            seconds = (time.perf_counter() - start) / megapixels
            counts = [hits(*pair) for pair in zip(real, found, strict=True)]
            right, all_found = (sum(column) for column in zip(*counts, strict=True))
            ap, ap50 = average_precision(list(zip(real, found, strict=True)), given.size)
            precision = right / all_found if all_found else 0.0
            recall = right / sum(map(len, real))
            sys.stdout.write(
                f"{way.__name__:11} precision {precision:.3f} recall {recall:.3f} AP {ap:.3f} "
                f"AP50 {ap50:.3f} {seconds:.2f} s a megapixel\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
