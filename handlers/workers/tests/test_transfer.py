"""Images and detections between processes."""

import os
from dataclasses import replace

import numpy as np
import pytest

from maskrcnn_plugin_kit.testing.fake import FakeModel
from maskrcnn_server.backend import PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.masks import BitMasks
from maskrcnn_workers.transfer import KEPT_BYTES, Pixels, pack, read_images, unpack

EVERYTHING = PredictOptions(score_threshold=0.0, proposals=True, mask_threshold=0.25)


def found(options: PredictOptions = EVERYTHING, bright: int = 200) -> Detections:
    image = np.zeros((12, 17, 3), np.uint8)
    image[2:7, 3:11] = bright
    (detections,) = FakeModel(0.5).predict([image], options)
    return detections


def bitmaps(detections: Detections, order: str) -> list[bytes]:
    assert detections.masks is not None
    return [rle.bitmap().tobytes() for rle in detections.masks.rle(order)]  # type: ignore[arg-type]


CASES = {
    "everything": found(),
    "boxes": found(PredictOptions(masks=False)),
    "nothing": found(bright=0),
    "bitmaps": replace(found(), masks=BitMasks(np.arange(3 * 12 * 17).reshape(3, 12, 17) % 7 < 3)),
    "no bitmaps": replace(found(bright=0), masks=BitMasks(np.zeros((0, 12, 17), np.bool_))),
}


@pytest.mark.parametrize("case", CASES)
def test_detections_arrive_as_they_were(case: str) -> None:
    sent = CASES[case]
    header, (come,) = unpack(pack({"a": [1, "b"]}, [sent]))
    assert header == {"a": [1, "b"]}
    assert come.size == sent.size
    for name in ("boxes", "scores", "category_ids"):
        np.testing.assert_array_equal(getattr(come, name), getattr(sent, name))
    assert (come.masks is None) == (sent.masks is None)
    if sent.masks is not None:
        assert bitmaps(come, "rows") == bitmaps(sent, "rows")
        assert bitmaps(come, "columns") == bitmaps(sent, "columns")
    assert (come.proposals is None) == (sent.proposals is None)
    if come.proposals is not None and sent.proposals is not None:
        np.testing.assert_array_equal(come.proposals.class_scores, sent.proposals.class_scores)


def test_several_arrive_in_their_order() -> None:
    sent = [found(), found(bright=0), found(PredictOptions(max_detections=1))]
    _, come = unpack(pack({}, sent))
    assert [len(one) for one in come] == [len(one) for one in sent]


def test_bitmaps_travel_as_run_lengths() -> None:
    """A hundred of a large picture would be a gigabyte."""
    detections = found(PredictOptions(max_detections=1))
    large = np.zeros((1, 3000, 4000), np.bool_)
    large[0, 100:2000, 300:900] = True
    sent = replace(detections, size=(3000, 4000), masks=BitMasks(large))
    assert len(pack({}, [sent])) < 100_000


@pytest.mark.parametrize("message", [b"", b"{}", b"[]\n", b'{"found": [{}]}\n', b"\x80\x04.\n"])
def test_what_is_no_message_is_refused(message: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError, EOFError)):
        unpack(message)


def test_nothing_in_a_message_is_executed() -> None:
    import io
    import json

    described = {"size": [1, 1], "masks": None, "proposals": False}
    file = io.BytesIO()
    np.save(file, np.array([print], object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        unpack(json.dumps({"found": [described]}).encode() + b"\n" + file.getvalue())


def test_images_are_read_as_they_were_written() -> None:
    chance = np.random.RandomState(0)
    images = [chance.randint(0, 256, (*size, 3), np.uint8) for size in ((4, 5), (1, 1), (33, 20))]
    images.append(images[2][::2, ::-1])
    pixels = Pixels()
    pixels.write(images)
    seen = read_images(pixels.file, [(i.shape[0], i.shape[1]) for i in images])
    for image, read in zip(images, seen, strict=True):
        np.testing.assert_array_equal(image, read)
        assert not read.flags.writeable
    assert read_images(pixels.file, []) == []
    for _ in range(2):
        pixels.close()


def test_the_memory_of_large_images_is_given_back() -> None:
    pixels = Pixels()
    pixels.write([np.zeros((6000, 5000, 3), np.uint8)])
    assert os.fstat(pixels.file).st_size == 90_000_000
    pixels.release()
    assert os.fstat(pixels.file).st_size == KEPT_BYTES
    pixels.close()
    pixels.release()
