"""What a session promises from call to call, and about abilities besides `run`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from maskrcnn_network.engine import (
    Observes,
    Output,
    RunsBatches,
    Session,
    ShowsStages,
    TimesParts,
)
from maskrcnn_network.testing.networks import small_network
from maskrcnn_network.testing.reference import (
    EVERYTHING,
    IMAGES,
    MASK_TOLERANCE,
    difference,
    expected,
    reference,
    size_of,
)
from maskrcnn_server.engine import Engine, Setup

PARTS = ["backbone", "rpn", "heads", "masks"]
BORDERS = np.array(
    [[-30, -20, 50, 40], [60, 50, 180, 140], [-90, 10, -40, 60], [10, 20, 11, 22]], np.float32
)
"""Boxes over the top left, over the bottom right, outside, and tiny."""


class SessionChecks:
    """Calls sessions repeatedly, from other threads, and for more than detections."""

    def test_the_same_image_gets_the_same_output(self, sessions: Callable[[str], Session]) -> None:
        first, second = (_run(sessions("fpn"), "fpn") for _ in range(2))
        same = all(
            np.array_equal(x, y)
            for x, y in zip(first[:5], second[:5], strict=True)
            if x is not None and y is not None
        )
        assert same, (
            "two runs of one image give different outputs in float32: keep nothing of a run, use "
            "deterministic kernels, and copy what the library overwrites"
        )

    def test_an_output_outlives_the_next_run(self, sessions: Callable[[str], Session]) -> None:
        first = _run(sessions("fpn"), "fpn")
        before = first.boxes.copy()
        _run(sessions("fpn"), "fpn", 1)
        assert np.array_equal(first.boxes, before), (
            "an output changed with the next run: copy it out of the library's memory"
        )

    def test_any_thread_may_run_it(self, sessions: Callable[[str], Session]) -> None:
        """One at a time, as the server does."""
        session = sessions("fpn")
        with ThreadPoolExecutor(1) as pool:
            try:
                found = pool.submit(_run, session, "fpn").result()
            except Exception as error:
                pytest.fail(
                    f"in a thread that did not open the session, `run` raises "
                    f"{type(error).__name__}: {error}; bind nothing to a thread"
                )
        differs = difference(found, expected("fpn", 0))
        assert not differs, f"in another thread, {differs}: bind nothing to a thread"

    def test_what_batches_says_how_many(self, sessions: Callable[[str], Session]) -> None:
        session = sessions("fpn")
        if not isinstance(session, RunsBatches):
            return
        assert session.max_batch >= 1, f"max_batch is {session.max_batch}: 1 or more"
        assert session.batch_pixels >= 0, f"batch_pixels is {session.batch_pixels}: 0 or more"

    def test_facts_are_texts(self, sessions: Callable[[str], Session]) -> None:
        facts = sessions("fpn").facts
        assert all(isinstance(x, str) and x for pair in facts.items() for x in pair), (
            f"facts are {dict(facts)}: names and values are texts for operators, never empty"
        )

    def test_stages_are_those_of_a_run(self, sessions: Callable[[str], Session]) -> None:
        for kind in ("fpn", "c4", "cascade"):
            session = sessions(kind)
            if not isinstance(session, ShowsStages):
                return
            shown = session.stages(IMAGES[0], size_of(kind, IMAGES[0]), EVERYTHING)
            wanted = reference(kind).stages(IMAGES[0], size_of(kind, IMAGES[0]), EVERYTHING)
            shapes = [f.shape for f in shown.features]
            wanted_shapes = [f.shape for f in wanted.features]
            assert shapes == wanted_shapes, (
                f"the feature maps of the network {kind!r} have the shapes {shapes}, not "
                f"{wanted_shapes}: (height, width, channels), largest first"
            )
            assert shown.output.proposals is not None, "`stages` must always return proposals"
            differs = difference(shown.output, _run(session, kind))
            assert not differs, (
                f"in the output of `stages`, compared with `run`, {differs}: compute both alike"
            )

    def test_masks_of_any_boxes_are_the_references(
        self, sessions: Callable[[str], Session]
    ) -> None:
        for kind in ("fpn", "c4", "torchvision", "detectron2"):
            session = sessions(kind)
            if not isinstance(session, ShowsStages):
                return
            features, output = session.stages(IMAGES[0], size_of(kind, IMAGES[0]), EVERYTHING)
            boxes = np.concatenate([output.boxes, BORDERS])
            labels = np.concatenate([output.labels, np.array([1, 2, 3, 4])])
            masks = session.masks_of(features, boxes, labels)
            wanted = reference(kind).masks_of(features, boxes, labels)
            assert masks.shape == wanted.shape, f"masks of shape {masks.shape}, not {wanted.shape}"
            off = np.abs(masks - wanted).max(axis=(1, 2))
            worst = int(off.argmax())
            assert off[worst] <= MASK_TOLERANCE, (
                f"`masks_of` of the network {kind!r} is off by {off[worst]:.2g} for box "
                f"{boxes[worst].tolist()} and label {labels[worst]}: any boxes may be passed, in "
                "any order; outside a map, RoIAlign sees its border for one pixel, then 0"
            )

    def test_seconds_of_the_parts_are_positive(self, sessions: Callable[[str], Session]) -> None:
        session = sessions("fpn")
        if not isinstance(session, TimesParts):
            return
        seconds = session.seconds(IMAGES[0], size_of("fpn", IMAGES[0]), EVERYTHING)
        assert list(seconds) == PARTS, f"parts are {list(seconds)}: {PARTS}, in this order"
        assert all(0 < s < 60 for s in seconds.values()), (
            f"seconds of the parts are {dict(seconds)}: each takes some time, less than 60 s"
        )

    def test_ranges_are_those_of_the_inputs(self, sessions: Callable[[str], Session]) -> None:
        session, size = sessions("fpn"), size_of("fpn", IMAGES[0])
        if not isinstance(session, Observes):
            return
        layers = ["conv0", "fpn/lateral_1x1_c5", "fastrcnn/fc6"]
        found = session.ranges(IMAGES[0], size, layers)
        assert list(found) == layers, f"there are ranges of {list(found)} instead of {layers}"
        rule = small_network("fpn").network.config.preparation
        pixels = rule.batch([IMAGES[0]], [size], rule.padded_size(size))
        wanted = float(pixels.min()), float(pixels.max())
        assert np.allclose(found["conv0"], wanted, rtol=1e-3), (
            f"the range of conv0's input is {found['conv0']}, that of the image {wanted}: return "
            "minimum and maximum of the input, before weights"
        )

    def test_sessions_side_by_side_do_not_disturb_each_other(
        self, engine: Engine, setup: Setup, sessions: Callable[[str], Session]
    ) -> None:
        first = sessions("fpn")
        other = engine.open(*small_network("cascade"), setup)
        outputs = [_run(first, "fpn"), _run(other, "cascade")]
        other.close()
        outputs.append(_run(first, "fpn"))
        for output, kind in zip(outputs, ("fpn", "cascade", "fpn"), strict=True):
            differs = difference(output, expected(kind, 0))
            assert not differs, (
                f"with two sessions open, or one of them closed, in the network {kind!r} "
                f"{differs}: keep nothing that sessions share in modules or classes"
            )

    def test_close_may_be_called_twice(self, engine: Engine, setup: Setup) -> None:
        session = engine.open(*small_network("boxes"), setup)
        session.close()
        try:
            session.close()
        except Exception as error:
            pytest.fail(
                f"the second `close` raises {type(error).__name__}: {error}; let it do nothing"
            )


def _run(session: Session, kind: str, index: int = 0) -> Output:
    image = IMAGES[index]
    return session.run([image], [size_of(kind, image)], EVERYTHING)
