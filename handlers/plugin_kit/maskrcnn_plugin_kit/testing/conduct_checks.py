"""Conformance checks across calls: order, determinism, threads, memory."""

import ctypes
import gc
import mmap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_plugin_kit.testing.asking import EVERYTHING, assert_same
from maskrcnn_plugin_kit.testing.images import sample_image
from maskrcnn_server.backend import Batches, Image, Model, PredictOptions
from maskrcnn_server.detections import Detections

CALLS, ROUNDS = 50, 8
"""Number of calls in a round, and of rounds at most."""
WIDTHS = (940, 960, 980, 1000)
LEAK = 2 << 20
"""Bytes by which memory may grow in a round (whose images have 3.5 MB); the allocator may take
less."""
STATM = Path("/proc/self/statm")


class ConductChecks:
    """Checks of several calls, several images, and several threads."""

    def test_answers_are_a_list_of_detections(self, model: Model) -> None:
        answers = model.predict([sample_image(160, 160)], EVERYTHING)
        assert isinstance(answers, list), (
            f"`predict` gave a {type(answers).__name__}: a list is promised, not an iterator"
        )
        assert all(isinstance(found, Detections) for found in answers), (
            f"`predict` gave a list of {type(answers[0]).__name__}: make Detections, which check "
            "what they are made of"
        )

    def test_no_images_no_answers(self, model: Model) -> None:
        assert not list(model.predict([], EVERYTHING)), (
            "an empty list of images is answered by an empty list: do not run the network on it"
        )

    def test_answers_come_in_the_order_of_the_images(self, model: Model) -> None:
        asked = [(side, side) for side in (96, 160, 64, 160)]
        answered = [
            found.size for found in model.predict([sample_image(*s) for s in asked], EVERYTHING)
        ]
        assert answered == asked, (
            f"images of {asked} are answered in sizes {answered}: give one answer for each image, "
            "in the order of the images, however they are grouped"
        )

    def test_an_image_gets_in_company_what_it_gets_alone(self, model: Model) -> None:
        images = [sample_image(128, 128, seed) for seed in range(3)] + [sample_image(160, 120)]
        together = model.predict(images, EVERYTHING)
        for image, found in zip(images, together, strict=True):
            assert_same(
                found,
                model.predict([image], EVERYTHING)[0],
                "an image gets another answer in the company of others than alone: batch only what "
                "has one shape, and let padding and other images have no say",
            )

    def test_a_model_that_batches_knows_the_shape_of_every_size(self, model: Model) -> None:
        if not isinstance(model, Batches):
            return
        assert model.batch_pixels >= 0, f"batch_pixels is {model.batch_pixels}: 0 or more"
        for size in ((1, 1), (120, 160), (3, 5000), (4000, 3000)):
            shape = model.network_shape(size)
            assert len(shape) == 2 and min(shape) > 0, (  # noqa: PT018 (one rule)
                f"network_shape({size}) is {shape}: every size of image has (height, "
                "width) in the network, of a pixel at least"
            )

    def test_the_same_image_gets_the_same_answer(self, model: Model) -> None:
        image = sample_image(160, 160, seed=1)
        first, second = (model.predict([image], EVERYTHING)[0] for _ in range(2))
        assert_same(
            first,
            second,
            "two calls give two answers: keep nothing of a call, switch dropout and training mode "
            "off, and seed what is random",
        )

    def test_callers_in_many_threads_get_their_own_answers(self, model: Model) -> None:
        """The server calls a model from any thread, one at a time."""
        images = [sample_image(160, 160, seed) for seed in (2, 3, 4)]
        alone = [model.predict([image], EVERYTHING)[0] for image in images]
        turn = threading.Lock()

        def ask(image: Image) -> Detections:
            with turn:
                return model.predict([image], EVERYTHING)[0]

        with ThreadPoolExecutor(len(images)) as pool:
            try:
                answers = list(pool.map(ask, images * 2))
            except Exception as error:
                pytest.fail(
                    f"in a thread that did not load the model, `predict` raised "
                    f"{type(error).__name__}: {error}; bind nothing to a thread"
                )
        for found, own in zip(answers, alone * 2, strict=True):
            assert_same(
                found,
                own,
                "with callers in several threads, one at a time, an image gets another answer: "
                "keep nothing of a call in the model, and bind nothing to a thread",
            )

    def test_images_are_left_as_they_are(self, model: Model) -> None:
        image = sample_image(160, 160)
        before = image.copy()
        model.predict([image], EVERYTHING)
        assert (image == before).all(), "`predict` changed its image: copy it before you normalise"
        image.setflags(write=False)
        model.predict([image], EVERYTHING)

    def test_memory_does_not_grow(self, model: Model) -> None:
        """At least one round of calls needs no more memory. Caches fill in the first rounds."""
        if not STATM.exists():
            pytest.skip("this system does not tell what memory a process has, as Linux does")
        options = PredictOptions(score_threshold=0.0, max_detections=5)
        resident: list[int] = []
        for _ in range(ROUNDS):
            for i in range(CALLS):
                image = sample_image(24, WIDTHS[i % len(WIDTHS)], seed=len(resident) * CALLS + i)
                model.predict([image], options)
            resident.append(_resident())
            if len(resident) > 1 and resident[-1] - resident[-2] < LEAK:
                return
        growth = ", ".join(f"{g / 1e6:.1f}" for g in np.diff(resident))
        pytest.fail(
            f"memory grew by {growth} MB in rounds of {CALLS} calls: keep no images and no answers"
        )


def _resident() -> int:
    """Resident memory of this process in bytes, after freed memory was returned."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc
        libc.malloc_trim(0)
    return int(STATM.read_text().split()[1]) * mmap.PAGESIZE
