"""What a session promises about outputs: the reference's numbers, as requested."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from maskrcnn_network.engine import Output, RunsBatches, Session
from maskrcnn_network.model import MAX_BATCH
from maskrcnn_network.testing.networks import CLASSES, KINDS, noisy_image, small_network
from maskrcnn_network.testing.reference import (
    EVERYTHING,
    IMAGES,
    batch_sizes,
    difference,
    expected,
    image_output,
    size_of,
)
from maskrcnn_server.rle import Size

SIZES = [(1, 1), (3, 400), (400, 3), (33, 65)]
"""Heights and widths: one pixel, very wide, very high, odd."""
ANY_SIZE = ["fpn", "c4", "torchvision", "detectron2"]
"""Networks that treat sizes differently."""


class OutputChecks:
    """Asks sessions about images."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_network_finds_what_the_reference_finds(
        self, sessions: Callable[[str], Session], kind: str
    ) -> None:
        for index in range(len(IMAGES)):
            differs = difference(_found(sessions(kind), kind, index), expected(kind, index))
            assert not differs, (
                f"in the network {kind!r}, which NumPy computes by definition, {differs}: compare "
                "the engine's operations with maskrcnn_network.testing.numpy_operations one by "
                "one, in float32 (not TF32)"
            )

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_batch_finds_what_each_image_finds_alone(
        self, sessions: Callable[[str], Session], kind: str
    ) -> None:
        session, sizes = sessions(kind), batch_sizes(kind)
        most = session.max_batch if isinstance(session, RunsBatches) else MAX_BATCH
        if most < 2:
            pytest.skip("the engine takes one image at a time")
        together = session.run(IMAGES, sizes, EVERYTHING)
        for index, (image, size) in enumerate(zip(IMAGES, sizes, strict=True)):
            alone = session.run([image], [size], EVERYTHING)
            differs = difference(image_output(together, index), alone)
            assert not differs, (
                f"for image {index} in a batch of the network {kind!r}, compared with the image "
                f"alone, {differs}: let no image see another or its padding, and put the index of "
                "the image into Output.images"
            )

    @pytest.mark.parametrize("kind", KINDS)
    def test_outputs_have_the_promised_form(
        self, sessions: Callable[[str], Session], kind: str
    ) -> None:
        _assert_form(_found(sessions(kind), kind), kind)

    @pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[1]}x{s[0]}")
    @pytest.mark.parametrize("kind", ANY_SIZE)
    def test_every_shape_of_image_is_computed(
        self, sessions: Callable[[str], Session], kind: str, size: Size
    ) -> None:
        image = noisy_image(*size)
        height, width = resized = size_of(kind, image)
        try:
            found = sessions(kind).run([image], [resized], EVERYTHING)
        except Exception as error:
            pytest.fail(
                f"an image of {size}, resized to {resized}, makes `run` of the network {kind!r} "
                f"raise {type(error).__name__}: {error}; every size is allowed"
            )
        _assert_form(found, kind)
        ends = found.boxes.reshape(-1, 2, 2)
        assert ((ends >= 0) & (ends <= (width, height))).all(), (
            f"boxes range from {ends.min()} to {ends.max()} in an image resized to {resized}: "
            "clip to the sizes without padding, which are (height, width)"
        )

    def test_score_threshold_is_inclusive(self, sessions: Callable[[str], Session]) -> None:
        everything = _found(sessions("fpn"), "fpn")
        middle = float(everything.scores[len(everything.scores) // 2])
        wanted = int((everything.scores >= np.float32(middle)).sum())
        kept = len(_found(sessions("fpn"), "fpn", score_threshold=middle).scores)
        assert kept == wanted, (
            f"with RunOptions.score_threshold={middle} there are {kept} detections, not {wanted}: "
            "keep score >= threshold, compared in float32"
        )

    def test_limit_keeps_the_best(self, sessions: Callable[[str], Session]) -> None:
        everything, best = (_found(sessions("fpn"), "fpn", limit=limit) for limit in (20, 3))
        assert best.scores.tolist() == everything.scores[:3].tolist(), (
            f"with RunOptions.limit=3 the scores are {best.scores.tolist()}; without, "
            f"{everything.scores[:5].tolist()} and more: keep the first of all classes"
        )

    def test_masks_come_only_when_asked_for(self, sessions: Callable[[str], Session]) -> None:
        assert _found(sessions("fpn"), "fpn", masks=False).masks is None, (
            "RunOptions.masks is False, but there are masks: return None, and save their time"
        )
        assert _found(sessions("boxes"), "boxes").masks is None, (
            "there are masks from a network without any (Architecture.has_masks): return None"
        )

    def test_proposals_come_only_when_asked_for(self, sessions: Callable[[str], Session]) -> None:
        session = sessions("fpn")
        assert _found(session, "fpn", proposals=False).proposals is None, (
            "RunOptions.proposals is False, but there are proposals: return None, and save a copy"
        )
        assert _found(session, "fpn").proposals is not None, (
            "RunOptions.proposals is True, but there are no proposals: return RankedBoxes"
        )

    def test_nothing_found_is_an_output(self, sessions: Callable[[str], Session]) -> None:
        for kind in ("fpn", "c4", "cascade"):
            try:
                found = _found(sessions(kind), kind, score_threshold=1.0)
            except Exception as error:
                pytest.fail(
                    f"without a detection, `run` of the network {kind!r} raises "
                    f"{type(error).__name__}: {error}; return empty arrays"
                )
            assert len(found.scores) == 0, "detections below the score threshold were kept"
            _assert_form(found, kind)

    def test_images_are_left_as_they_are(self, sessions: Callable[[str], Session]) -> None:
        image = IMAGES[0].copy()
        image.setflags(write=False)
        sizes = [size_of("fpn", image), (image.shape[0], image.shape[1])]
        try:
            for size in sizes:
                sessions("fpn").run([image], [size], EVERYTHING)
        except ValueError as error:
            pytest.fail(f"`run` of a read-only image raises {error}: change a copy")


def _found(session: Session, kind: str, index: int = 0, **asked: float | bool) -> Output:
    """Everything in an image of `IMAGES`, or what `asked` restricts it to."""
    image = IMAGES[index]
    return session.run([image], [size_of(kind, image)], replace(EVERYTHING, **asked))  # type: ignore[arg-type]


def _assert_form(found: Output, kind: str) -> None:
    network = small_network(kind).network
    count, side = len(found.scores), 2 * network.body.mask_side
    shapes = found.boxes.shape, found.scores.shape, found.labels.shape, found.images.shape
    assert shapes == ((count, 4), (count,), (count,), (count,)), (
        f"boxes, scores, labels and images have the shapes {shapes}: (D, 4), (D,), (D,), (D,)"
    )
    types = [str(x.dtype) for x in found[:4]]
    assert types == ["float32", "float32", "int64", "int64"], (
        f"boxes, scores, labels and images are {types}: float32, float32, int64 and int64"
    )
    assert set(found.labels.tolist()) <= set(range(1, CLASSES + 1)), (
        f"labels are {sorted(set(found.labels.tolist()))}: from 1 to {CLASSES}, 0 is the background"
    )
    assert (np.diff(found.scores) <= 0).all(), (
        f"scores do not descend: {found.scores.tolist()}: the best comes first in each image"
    )
    if network.architecture.has_masks:
        assert found.masks is not None, "RunOptions.masks is True, but there are no masks"
        assert found.masks.shape == (count, side, side), (
            f"masks have the shape {found.masks.shape}: ({count}, {side}, {side}), one for each box"
        )
    numbers = [x for x in (found.boxes, found.scores, found.masks) if x is not None]
    assert all(np.isfinite(x).all() for x in numbers), (
        f"an output of the network {kind!r} has NaN or infinity: do not compute with DROPPED, and "
        "leave it out of the result"
    )
