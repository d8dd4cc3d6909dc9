"""TIFF kinds: the right pixels, or a refusal that names the kind."""

import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from maskrcnn_handlers.request.images import decode
from maskrcnn_server.errors import InvalidImage

CASES = Path(__file__).parent / "tiff"
LIMIT = 10**6
RAMP: NDArray[np.uint8] = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
GRAY, RGB, CMYK = 1, 2, 5
NOTHING: Mapping[int, int] = MappingProxyType({})


def tiff(
    pixels: NDArray[Any],
    photometric: int,
    *,
    order: str = "<",
    planes: bool = False,
    deflated: bool = False,
    alpha: int | None = None,
    more: Mapping[int, int] = NOTHING,
) -> bytes:
    """A file of one strip, or one a plane, of pixels (height, width, channels). `more` tags."""
    height, width, channels = pixels.shape
    bits = 8 * pixels.dtype.itemsize
    parts = [pixels[..., i] for i in range(channels)] if planes else [pixels]
    strips = [
        np.ascontiguousarray(part.astype(f"{order}{part.dtype.kind}{part.dtype.itemsize}"))
        for part in parts
    ]
    data = [zlib.compress(strip.tobytes()) if deflated else strip.tobytes() for strip in strips]
    formats = {"u": 1, "i": 2, "f": 3}
    tags: dict[int, list[int]] = {
        256: [width],
        257: [height],
        258: [bits] * channels,
        259: [8 if deflated else 1],
        262: [photometric],
        273: [0] * len(data),
        277: [channels],
        278: [height],
        279: [len(strip) for strip in data],
        284: [2 if planes else 1],
        339: [formats[pixels.dtype.kind]] * channels,
    }
    if alpha is not None:
        tags[338] = [alpha]
    tags |= {tag: [value] for tag, value in more.items()}
    tags = dict(sorted(tags.items()))
    begin = 8 + 2 + 12 * len(tags) + 4
    extra = sum(4 * len(values) for values in tags.values() if len(values) > 1)
    place = begin + extra
    tags[273] = [place + sum(map(len, data[:i])) for i in range(len(data))]
    entries, values = b"", b""
    for tag, numbers in tags.items():
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers))
        if len(numbers) > 1:
            entries += struct.pack(f"{order}I", begin + len(values))
            values += packed
        else:
            entries += packed
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    return head + directory + values + b"".join(data)


def deep(pixels: NDArray[Any]) -> NDArray[np.uint16]:
    return np.asarray(pixels.astype(np.uint16) * 256 + 0x5A, np.uint16)


def with_alpha(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate([pixels, np.full_like(pixels[..., :1], 99)], axis=2)


ONE = RAMP[..., :1]
WHITE = 0
RIGHT: dict[str, tuple[NDArray[Any], int, dict[str, Any], NDArray[np.uint8]]] = {
    "RGB": (RAMP, RGB, {}, RAMP),
    "RGB in planes": (RAMP, RGB, {"planes": True}, RAMP),
    "RGB of 16 bits": (deep(RAMP), RGB, {}, RAMP),
    "RGB of 16 bits in planes": (deep(RAMP), RGB, {"planes": True}, RAMP),
    "RGB with alpha": (with_alpha(RAMP), RGB, {"alpha": 2}, RAMP),
    "RGB with associated alpha": (with_alpha(RAMP), RGB, {"alpha": 1}, RAMP),
    "RGB with a fourth channel": (with_alpha(RAMP), RGB, {"alpha": 0}, RAMP),
    "RGB of 16 bits with alpha": (deep(with_alpha(RAMP)), RGB, {"alpha": 2}, RAMP),
    "gray": (ONE, GRAY, {}, ONE),
    "gray of 16 bits": (deep(ONE), GRAY, {}, ONE),
    "gray, white is 0": (255 - ONE, WHITE, {}, ONE),
    "CMYK": (with_alpha(255 - RAMP) // [1, 1, 1, 255], CMYK, {}, RAMP),
}


@pytest.mark.parametrize("deflated", [False, True], ids=["raw", "deflate"])
@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("name", RIGHT)
def test_pixels_are_right(name: str, order: str, deflated: bool) -> None:
    pixels, photometric, options, expected = RIGHT[name]
    pixels = pixels if pixels.dtype.itemsize == 2 else pixels.astype(np.uint8)
    data = tiff(pixels, photometric, order=order, deflated=deflated, **options)
    image = decode(data, LIMIT)
    assert image.tolist() == np.broadcast_to(expected, RAMP.shape).tolist()


@pytest.mark.parametrize("deflated", [False, True], ids=["raw", "deflate"])
def test_sixteen_bits_where_white_is_zero_are_inverted(deflated: bool) -> None:
    image = decode(tiff(65535 - deep(ONE), WHITE, deflated=deflated), LIMIT)
    assert image.tolist() == np.broadcast_to(ONE, RAMP.shape).tolist()


REFUSED: dict[str, tuple[NDArray[Any], int, str]] = {
    "32 bits": (ONE.astype(np.uint32), GRAY, "32 bits have no agreed range"),
    "32 bits with sign": (ONE.astype(np.int32), GRAY, "32 signed bits"),
    "RGB of 32 bits": (RAMP.astype(np.uint32), RGB, "RGB, 3 channels of 32 bits"),
    "8 bits with sign": (ONE.astype(np.int8), GRAY, "8 signed bits"),
    "16 bits with sign": (ONE.astype(np.int16), GRAY, "16 signed bits"),
    "float": (ONE.astype(np.float32), GRAY, "floating-point pixels have no agreed range"),
    "double": (ONE.astype(np.float64), GRAY, "floating-point pixels have no agreed range"),
    "RGB of float": (RAMP.astype(np.float32), RGB, "floating-point pixels have no agreed range"),
    "three gray channels": (RAMP, GRAY, "3 channels are marked as gray"),
    "four gray channels": (with_alpha(RAMP), GRAY, "4 channels are marked as gray"),
    "three of 16 bits": (deep(RAMP), GRAY, "MinIsBlack"),
    "gray of 16 bits with alpha": (deep(RAMP[..., :2]), GRAY, "2 channels of 16 bits"),
}


@pytest.mark.parametrize("deflated", [False, True], ids=["raw", "deflate"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_kind_without_agreed_pixels_is_named(name: str, deflated: bool) -> None:
    pixels, photometric, said = REFUSED[name]
    with pytest.raises(InvalidImage, match=said) as refused:
        decode(tiff(pixels, photometric, deflated=deflated), LIMIT)
    assert "save" in refused.value.message


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({317: 2}, "do not agree on a predictor"),
        ({259: 32773, 317: 2}, "do not agree on a predictor"),
        ({254: 1}, "a preview of another"),
        ({259: 34887}, "compression lerc|compression 34887"),
        ({259: 50002}, "compression 50002"),
        ({262: 32803}, "PhotometricInterpretation 32803"),
    ],
    ids=["predictor", "PackBits", "preview", "LERC", "JPEG XL", "colours of a sensor"],
)
def test_what_programs_read_in_several_ways_or_not_at_all_is_named(
    more: dict[int, int], said: str
) -> None:
    with pytest.raises(InvalidImage, match=said) as refused:
        decode(tiff(RAMP, RGB, more=more), LIMIT)
    assert "save it as" in refused.value.message


@pytest.mark.parametrize("more", [{317: 1}, {254: 0}, {254: 2}])
def test_tags_that_change_nothing_are_passed_over(more: dict[int, int]) -> None:
    assert decode(tiff(RAMP, RGB, more=more), LIMIT).tolist() == RAMP.tolist()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sixteen_bits_in_planes_are_turned_upright(orientation: int) -> None:
    up = deep(RAMP)
    turned = {2: up[:, ::-1], 3: up[::-1, ::-1], 4: up[::-1], 5: up.transpose(1, 0, 2)}
    turned[6] = up[:, ::-1].transpose(1, 0, 2)
    turned[7] = up[::-1, ::-1].transpose(1, 0, 2)
    turned[8] = up[::-1].transpose(1, 0, 2)
    stored = turned.get(orientation, up)
    image = decode(tiff(stored, RGB, planes=True, more={274: orientation}), LIMIT)
    assert image.tolist() == RAMP.tolist()


def test_sixteen_bits_in_planes_are_those_of_the_png() -> None:
    with PIL.Image.open(CASES / "same_picture_rgb.png") as image:
        expected = np.asarray(image.convert("RGB"))
    assert (decode((CASES / "tif_rgb16_planar.tif").read_bytes(), LIMIT) == expected).all()


@pytest.mark.parametrize("name", ["tif_rgb8_minisblack.tif", "tif_rgb16_minisblack.tif"])
def test_bands_of_satellites_are_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidImage, match="are marked as gray"):
        decode((CASES / name).read_bytes(), LIMIT)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_pages_after_the_first_are_left_alone(
    encode: Callable[..., bytes], compression: str
) -> None:
    first, second = (PIL.Image.new("RGB", (16, 16), colour) for colour in ("white", "black"))
    data = encode(first, "TIFF", save_all=True, append_images=[second], compression=compression)
    assert np.unique(decode(data, LIMIT)).tolist() == [255]


def test_a_gif_gives_its_first_frame(encode: Callable[..., bytes]) -> None:
    first, second = (PIL.Image.new("P", (4, 4), 0), PIL.Image.new("P", (4, 4), 1))
    for image in (first, second):
        image.putpalette([9, 8, 7, 255, 255, 255])
    data = encode(first, "GIF", save_all=True, append_images=[second])
    assert decode(data, LIMIT)[0, 0].tolist() == [9, 8, 7]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC or AVIF"),
        (b"II*\0\xff\xff\xff\xff", "the image cannot be decoded"),
        (b"MM\0*\0\0\0\x08\0\0", "the image cannot be decoded"),
        (b"MM\0+\0\x08\0\0" + bytes(99), "BigTIFF image of big endian"),
    ],
)
def test_what_cannot_be_read_is_named(data: bytes, said: str) -> None:
    with pytest.raises(InvalidImage, match=said):
        decode(data, LIMIT)
