"""Pictures are resized as OpenCV does it, without OpenCV."""

import cv2
import numpy as np
import pytest

from maskrcnn_network.tensorpack_config import TensorPackConfig
from maskrcnn_onnx.description import Preprocessing
from maskrcnn_onnx.preprocess import batch, padded_size, resized, resized_size
from maskrcnn_server.errors import ImageTooLarge
from maskrcnn_tensorflow import preprocess as tensorflow

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
    np.testing.assert_array_equal(resized(image, new, Preprocessing(short_edge=1)), expected)


@pytest.mark.parametrize(("size", "new"), SIZES, ids=str)
def test_floats_are_opencvs(size: tuple[int, int], new: tuple[int, int]) -> None:
    image = noise(size)
    expected = cv2.resize(image.astype(np.float32), new[::-1], interpolation=cv2.INTER_LINEAR)
    found = resized(image, new, Preprocessing(short_edge=1, resampling="float"))
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("size", [size for size, _ in SIZES], ids=str)
def test_sizes_are_those_of_the_other_backends(size: tuple[int, int]) -> None:
    config = TensorPackConfig()
    rule = Preprocessing(short_edge=800, long_edge=1344, multiple_of=32)
    found = resized_size(size, rule)
    assert found == tensorflow.resized_size(size, config)
    assert padded_size(found, rule) == tensorflow.padded_size(found, config)


def test_padding_is_zero_and_channels_are_in_their_order() -> None:
    rule = Preprocessing(channels="BGR", mean=(1, 2, 3), std=(1, 2, 4))
    image = np.array([[[10, 20, 31]]], np.uint8)
    pixels = batch([image], (2, 2), rule)
    assert pixels.shape == (1, 3, 2, 2)
    assert pixels[0, :, 0, 0].tolist() == [30, 9, 1.75]
    assert not pixels[0, :, 1].any()
    assert not pixels[0, :, 0, 1].any()


def test_an_image_that_is_not_resized_may_be_too_large() -> None:
    with pytest.raises(ImageTooLarge, match="takes images as they are"):
        resized_size((3000, 2000), Preprocessing())
