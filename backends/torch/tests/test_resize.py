"""Resizing against OpenCV and a plain reference."""

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from maskrcnn_torch.resize import resize

Size = tuple[int, int]

SIZES: list[tuple[Size, Size]] = [
    ((480, 640), (800, 1067)),
    ((300, 451), (800, 1203)),
    ((1000, 700), (500, 350)),
    ((1500, 2100), (800, 1120)),
    ((37, 41), (800, 887)),
    ((64, 1000), (85, 1333)),
    ((1, 1), (7, 5)),
    ((2, 3), (1, 1)),
    ((5, 1), (3, 9)),
]


def noise(size: Size) -> NDArray[np.uint8]:
    return np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), dtype=np.uint8)


def some_sizes(count: int) -> list[tuple[Size, Size]]:
    made = np.random.default_rng(5).integers(1, 90, (count, 4)).tolist()
    return [((a, b), (c, d)) for a, b, c, d in made]


@pytest.mark.parametrize(("old", "new"), [*SIZES, *some_sizes(60)], ids=str)
def test_bytes_are_resized_as_by_opencv(old: Size, new: Size) -> None:
    image = noise(old)
    found = resize(torch.from_numpy(image), new, whole=True)
    assert found.dtype == torch.uint8
    expected = cv2.resize(image, new[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize(("old", "new"), SIZES, ids=str)
def test_floats_are_interpolated_between_pixel_centres(old: Size, new: Size) -> None:
    image = noise(old)
    found = resize(torch.from_numpy(image), new, whole=False)
    assert found.dtype == torch.float32
    by_torch = torch.nn.functional.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None].double(), size=new, mode="bilinear"
    )
    expected = by_torch[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-4)


@pytest.mark.parametrize(("whole", "dtype"), [(True, torch.uint8), (False, torch.float32)])
def test_an_image_of_that_size_stays_as_it_is(whole: bool, dtype: torch.dtype) -> None:
    image = torch.from_numpy(noise((20, 30)))
    found = resize(image, (20, 30), whole)
    assert found.dtype == dtype
    assert torch.equal(found, image.to(dtype))
