"""Images are resized as OpenCV does it, with and without OpenCV."""

import cv2
import numpy as np
import pytest

from maskrcnn_network.preparation import Preparation
from maskrcnn_network.resize import bilinear, fixed_point, floating
from maskrcnn_network.tensorpack_config import TensorPackConfig
from maskrcnn_server.errors import ImageTooLarge

SIZES = [
    ((480, 640), (800, 1067)),
    ((300, 640), (631, 1344)),
    ((1200, 1600), (800, 1067)),
    ((512, 512), (256, 256)),
    ((33, 400), (111, 1344)),
    ((1, 1), (80, 80)),
    ((700, 3), (801, 4)),
    ((97, 211), (50, 999)),
]


def noise(size: tuple[int, int]) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (*size, 3), np.uint8)


@pytest.mark.parametrize(("size", "new"), SIZES, ids=str)
def test_bytes_are_opencvs_to_the_last_bit(size: tuple[int, int], new: tuple[int, int]) -> None:
    image = noise(size)
    expected = cv2.resize(image, new[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(fixed_point(image, new), expected)
    np.testing.assert_array_equal(bilinear(image, new), expected)


@pytest.mark.parametrize(("size", "new"), SIZES, ids=str)
def test_floats_are_opencvs(size: tuple[int, int], new: tuple[int, int]) -> None:
    image = noise(size).astype(np.float32)
    expected = cv2.resize(image, new[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(floating(image, new), expected, atol=1e-4)
    np.testing.assert_array_equal(bilinear(image, new), expected)


def test_sizes_are_the_frameworks() -> None:
    """800 on the short edge, at most 1344 on the long one, padded to 32."""
    rule = TensorPackConfig().preparation
    assert rule.resized_size((480, 640)) == (800, 1067)
    assert rule.padded_size((800, 1067)) == (800, 1088)
    assert rule.resized_size((300, 640)) == (630, 1344)
    assert rule.resized_size((1, 4000)) == (1, 1344)


def test_padding_is_zero_and_channels_are_in_their_order() -> None:
    rule = Preparation(short_edge=None, channels="BGR", mean=(1, 2, 3), std=(1, 2, 4))
    image = np.array([[[10, 20, 31]]], np.uint8)
    pixels = rule.batch([image], [(1, 1)], (2, 2))
    assert pixels.shape == (1, 2, 2, 3)
    assert pixels[0, 0, 0].tolist() == [30, 9, 1.75]
    assert not pixels[0, 1].any()
    assert not pixels[0, 0, 1].any()


def test_an_image_that_is_not_resized_may_be_too_large() -> None:
    with pytest.raises(ImageTooLarge, match="does not resize images"):
        Preparation(short_edge=None, mean=(0, 0, 0)).resized_size((3000, 2000))
