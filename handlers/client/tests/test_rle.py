"""The client's run lengths against the server's and pycocotools'."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from maskrcnn_client import rle
from maskrcnn_server.rle import encode

bitmaps = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(
    lambda size: arrays(np.bool_, size)
)


@given(bitmaps)
def test_text_is_the_servers_and_pycocotools(bitmap: np.ndarray) -> None:
    text = rle.encode(bitmap)
    assert text == encode(bitmap, "columns").compressed()
    theirs = coco_mask.encode(np.asfortranarray(bitmap, np.uint8))["counts"]
    assert text == theirs.decode()
    np.testing.assert_array_equal(rle.decode(text, bitmap.shape), bitmap)


@pytest.mark.parametrize("size", [(1, 1), (3000, 4000)])
@pytest.mark.parametrize("value", [False, True])
def test_masks_of_one_value_come_back(size: tuple[int, int], value: bool) -> None:
    bitmap = np.full(size, value)
    assert rle.encode(bitmap) == encode(bitmap, "columns").compressed()
    assert (rle.decode(rle.encode(bitmap), size) == value).all()


@pytest.mark.parametrize("text", ["", "1", "`", "\x10", "é", "0000", "O1", "o" * 10**6, "`2`2"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="run lengths"):
        rle.decode(text, (8, 10))
