"""A backend that fails in every way: at load as its options say, later as its images' heights say.

Its model finds what the fake one of `maskrcnn_plugin_kit` finds.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from maskrcnn_plugin_kit.testing.fake import FakeBackend, FakeModel
from maskrcnn_server import hookimpl
from maskrcnn_server.backend import Backend, Image, Model, ModelConfig, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import BackendTimedOut, InvalidImage
from maskrcnn_server.keys import Keys
from maskrcnn_server.masks import BitMasks, RoiMasks
from maskrcnn_server.rle import Size

api_version = "1.0"

FAULTS = {
    11: "raise",
    12: "die",
    13: "hang",
    14: "eat",
    15: "exit",
    16: "refuse",
    17: "once",
    18: "pretend",
}
PID = "pid"
"""File in the model's folder, with the id of the process that loaded it last."""
EATEN = 2 << 30


class FaultyModel(FakeModel):
    """Takes `seconds` for a call. Images of one size go together, and masks are bitmaps."""

    batch_pixels = 4096

    def __init__(self, folder: Path, seconds: float = 0.0, device: str = "cpu") -> None:
        super().__init__(0.5)
        self.metadata = replace(self.metadata, facts={"device": device})
        self._folder = folder
        self._seconds = seconds

    def network_shape(self, size: Size, /) -> Size:
        return size

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        time.sleep(self._seconds)
        for image in images:
            fail(FAULTS.get(image.shape[0], ""), self._folder)
        found = super().predict(images, options)
        return [_with_bitmaps(one) if one.size[0] == 20 else one for one in found]


class StillModel(FakeModel):
    """Answers a hundred instances with soft masks without looking."""

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        return [_a_hundred((image.shape[0], image.shape[1]), options) for image in images]


class FaultyBackend(FakeBackend):
    """Loads any folder, and leaves its process' id there."""

    name = "faulty"
    keys = Keys(options={"at_load", "seconds"})

    def load(self, config: ModelConfig, /) -> Model:
        (config.model_dir / PID).write_text(str(os.getpid()))
        fail(config.options.get("at_load", ""), config.model_dir)
        seconds = float(config.options.get("seconds", "0"))
        return FaultyModel(config.model_dir, seconds, config.device)


def load(folder: Path, fault: str = "", seconds: float = 0.0, device: str = "cpu") -> Model:
    """A model of a folder, or the fault."""
    options = {"at_load": fault, "seconds": str(seconds)}
    return FaultyBackend().load(ModelConfig(model_dir=folder, options=options, device=device))


def load_still() -> Model:
    """A model that costs nothing."""
    return StillModel(0.5)


def fail(fault: str, folder: Path) -> None:
    """Do it; nothing if it is none."""
    if fault == "raise":
        raise RuntimeError("on purpose")
    if fault == "exit":
        sys.exit("on purpose")
    if fault == "refuse":
        raise InvalidImage("too dark", lux=3)
    if fault == "pretend":
        raise BackendTimedOut("not really")
    if fault == "die":
        print("last words", flush=True)  # noqa: T201 (it is looked for)
        os._exit(3)
    if fault == "once" and not (folder / "once").exists():
        (folder / "once").touch()
        os._exit(4)
    if fault == "hang":
        time.sleep(3600)
    if fault == "eat":
        kept = bytearray()
        while len(kept) < EATEN:
            kept += b"x" * (32 << 20)
            time.sleep(0.02)
        raise MemoryError


def _a_hundred(size: Size, options: PredictOptions) -> Detections:
    boxes = np.tile(np.array([0, 0, size[1], size[0]], np.float32), (100, 1))
    return Detections(
        size,
        boxes,
        np.full(100, 0.75, np.float32),
        np.ones(100, np.int64),
        RoiMasks(np.ones((100, 28, 28), np.float32), boxes, size, options.mask_threshold),
    )


def _with_bitmaps(found: Detections) -> Detections:
    bitmaps = np.zeros((len(found), *found.size), np.bool_)
    for bitmap, box in zip(bitmaps, found.boxes.astype(int), strict=True):
        bitmap[box[1] : box[3], box[0] : box[2]] = True
    return Detections(found.size, found.boxes, found.scores, found.category_ids, BitMasks(bitmaps))


@hookimpl
def register_backends(register: Callable[[Backend], None]) -> None:
    """`faulty`"""
    register(FaultyBackend())
