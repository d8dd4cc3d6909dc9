import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from maskrcnn_handlers.request import images
from maskrcnn_handlers.request.images import decode
from maskrcnn_server.errors import ImageTooLarge, InvalidImage

Encode = Callable[..., bytes]

LIMIT = 1_000_000
RAMP: NDArray[np.uint8] = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)

UPRIGHT_TO_STORED: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda up: up,
    2: lambda up: up[:, ::-1],
    3: lambda up: up[::-1, ::-1],
    4: lambda up: up[::-1],
    5: lambda up: up.transpose(1, 0, 2),
    6: lambda up: up[:, ::-1].transpose(1, 0, 2),
    7: lambda up: up[::-1, ::-1].transpose(1, 0, 2),
    8: lambda up: up[::-1].transpose(1, 0, 2),
}
"""By EXIF orientation (Exif 2.32, tag 274): which sides row 0 and column 0 of the file show."""


def png_header(width: int, height: int, depth: int = 1, colour: int = 0) -> bytes:
    """A PNG that promises much and holds hardly anything."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")):
        check = struct.pack(">I", zlib.crc32(kind + data))
        parts.append(struct.pack(">I", len(data)) + kind + data + check)
    return b"".join(parts)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_lossless_files_give_their_pixels(encode: Encode, form: str) -> None:
    image = decode(encode(RAMP, form), LIMIT)
    assert (image == RAMP).all()
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous


def test_lossless_webp_gives_its_pixels(encode: Encode) -> None:
    assert (decode(encode(RAMP, "WEBP", lossless=True), LIMIT) == RAMP).all()


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_jpeg_channels_are_rgb(encode: Encode, options: dict[str, Any]) -> None:
    orange = np.full((16, 16, 3), (250, 120, 10), np.uint8)
    image = decode(encode(orange, "JPEG", quality=95, **options), LIMIT)
    assert np.abs(image.astype(int) - orange).max() < 6


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
def test_gray_is_the_same_in_each_channel(encode: Encode, form: str) -> None:
    gray = np.full((8, 8), 77, np.uint8)
    assert np.unique(decode(encode(gray, form), LIMIT)).tolist() == [77]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_dropped(encode: Encode, mode: str) -> None:
    """A transparent pixel keeps the colour it was stored with."""
    picture = PIL.Image.new(mode, (4, 3), (200, 0) if mode == "LA" else (200, 200, 200, 0))
    image = decode(encode(picture), LIMIT)
    assert image.shape == (3, 4, 3)
    assert np.unique(image).tolist() == [200]


@pytest.mark.parametrize("transparency", [None, 1, b"\0\x80\xff"], ids=["none", "index", "table"])
def test_palettes_are_resolved(encode: Encode, transparency: int | bytes | None) -> None:
    picture = PIL.Image.new("P", (3, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    for x in range(3):
        picture.putpixel((x, 0), x)
    options = {} if transparency is None else {"transparency": transparency}
    image = decode(encode(picture, **options), LIMIT)
    assert image.tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]


def test_one_bit_is_black_and_white(encode: Encode) -> None:
    picture = PIL.Image.new("1", (2, 1))
    picture.putpixel((1, 0), 1)
    assert decode(encode(picture), LIMIT).tolist() == [[[0, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_gray_keeps_its_upper_bits(encode: Encode, form: str) -> None:
    deep = np.array([[0x0000, 0x00FF, 0x0100, 0x8000, 0xFFFF]], np.uint16)
    image = decode(encode(deep, form), LIMIT)
    assert image[0, :, 0].tolist() == [0, 0, 1, 128, 255]
    assert image.flags.c_contiguous


def test_cmyk_becomes_rgb(encode: Encode) -> None:
    cyan = PIL.Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    red, green, blue = decode(encode(cyan, "JPEG", quality=95), LIMIT)[8, 8].tolist()
    assert red < 10
    assert green > 245
    assert blue > 245


@pytest.mark.parametrize("orientation", UPRIGHT_TO_STORED)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_every_exif_orientation_is_turned_upright(
    encode: Encode, form: str, orientation: int
) -> None:
    exif = PIL.Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(UPRIGHT_TO_STORED[orientation](RAMP))
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
    image = decode(encode(stored, form, exif=exif, **options), LIMIT)
    assert image.shape == RAMP.shape
    assert (image == RAMP).all()
    assert image.flags.c_contiguous


@pytest.mark.parametrize("orientation", UPRIGHT_TO_STORED)
def test_photographs_are_turned_upright(encode: Encode, orientation: int) -> None:
    quarters = np.zeros((32, 48, 3), np.uint8)
    quarters[:16, :24] = 255
    exif = PIL.Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(UPRIGHT_TO_STORED[orientation](quarters))
    image = decode(encode(stored, "JPEG", exif=exif, quality=95), LIMIT)
    assert image.shape == quarters.shape
    assert (image[4:12, 4:20] > 200).all()
    assert (image[20:, 28:] < 50).all()


@pytest.mark.parametrize("form", ["WEBP", "TIFF", "PNG"])
def test_the_first_of_several_frames_is_taken(encode: Encode, form: str) -> None:
    first, second = (PIL.Image.new("RGB", (4, 4), colour) for colour in ("white", "black"))
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
    data = encode(first, form, save_all=True, append_images=[second], **options)
    assert np.unique(decode(data, LIMIT)).tolist() == [255]


def test_floating_point_pixels_are_refused(encode: Encode) -> None:
    with pytest.raises(InvalidImage, match="floating-point"):
        decode(encode(np.zeros((4, 4), np.float32), "TIFF"), LIMIT)


def test_as_many_pixels_as_the_limit_are_decoded(encode: Encode) -> None:
    assert decode(encode(RAMP), max_pixels=48).shape == (6, 8, 3)
    with pytest.raises(ImageTooLarge) as refused:
        decode(encode(RAMP), max_pixels=47)
    assert refused.value.detail == {"width": 8, "height": 6, "max_pixels": 47}


@pytest.mark.parametrize("side", [9_500, 12_000, 60_000, 2**31 - 1])
def test_the_limit_is_checked_before_a_pixel_is_decoded(side: int) -> None:
    data = png_header(side, side, depth=8, colour=2)
    assert len(data) < 100
    tracemalloc.start()
    start = time.monotonic()
    try:
        with pytest.raises(ImageTooLarge):
            decode(data, LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.monotonic() - start < 1
    assert peak < 2**20


def test_a_limit_above_pillows_own_is_honoured() -> None:
    """What is wrong with this file of 200 megapixels is not its size: its pixels are missing."""
    with pytest.raises(InvalidImage) as refused:
        decode(png_header(20_000, 10_000), max_pixels=10**9)
    assert not isinstance(refused.value, ImageTooLarge)


def test_a_gif_whose_frame_is_larger_than_the_image_is_refused_by_its_header() -> None:
    """Pillow would make the image 200 megapixels, and fill it, before anybody sees its size."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 8, 6, 0x80, 0, 0) + bytes(6)
    cleared = b"!\xf9\x04\x08" + bytes(4)
    frame = b"," + struct.pack("<4HB", 0, 0, 20_000, 10_000, 0) + b"\x02\x02\x44\x01\x00;"
    tracemalloc.start()
    try:
        with pytest.raises(ImageTooLarge) as refused:
            decode(screen + cleared + frame, LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**18
    assert refused.value.detail["width"] == 20_000


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.95])
def test_truncated_files_are_refused(encode: Encode, form: str, kept: float) -> None:
    noise = np.random.RandomState(0).randint(0, 256, (64, 64, 3), np.uint8)
    data = encode(noise, form)
    with pytest.raises(InvalidImage):
        decode(data[: int(len(data) * kept)], LIMIT)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 1000, b"no image", b"<html></html>", b"%PDF-1.7", b"\xff\xd8", b"BM", b"II*\0"],
    ids=["empty", "zeros", "text", "html", "pdf", "jpeg-start", "bmp-start", "tiff-start"],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        decode(data, LIMIT)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x89PNG\x1a\0\0\0IHDR", "--data-binary"),
        (b'{"img_id": "a", "img_data": "QQ=="}', "application/json"),
        (b'[{"image": "QQ=="}]', "application/json"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"iVBORw0KGgoAAAANSUhEUg", "base64"),
        (b"/9j/4AAQSkZJRgABAQ", "base64"),
        (b"data:image/png;base64,iVBORw0KG", "base64"),
        (b"data:image/svg+xml;base64,PHN2Zy", "base64"),
        (b"\0\0\0\x20ftypisom", "a video"),
        (b"\0\0\0\x14ftypqt  ", "a video"),
        (b"--abc-1\r\nContent-Disposition: form-data", "boundary"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%PDF-1.7", "PDF"),
    ],
)
def test_what_people_send_instead_is_named(data: bytes, said: str) -> None:
    with pytest.raises(InvalidImage, match=f"no JPEG, PNG, .* image: .*{said}"):
        decode(data, LIMIT)


@pytest.mark.parametrize("form", ["PPM", "ICO", "PCX"])
def test_other_image_files_are_refused(encode: Encode, form: str) -> None:
    with pytest.raises(InvalidImage, match="JPEG, PNG, WebP, BMP, GIF or TIFF"):
        decode(encode(RAMP, form), LIMIT)


# Pillow warns of what it skips.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "block",
    [
        b"MM\0*\xff\xff\xff\xff",
        b"no TIFF header",
        b"",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\xff\xff\0\0abcd",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0x\0\0\0\0\0\0\0",
    ],
    ids=["offset", "header", "empty", "length", "unknown-orientation", "orientation-is-text"],
)
def test_an_image_with_a_broken_exif_block_is_still_an_image(encode: Encode, block: bytes) -> None:
    """Telephones and editors write such blocks; the orientation is then unknown, not the pixels."""
    data = encode(np.full((16, 16, 3), 99, np.uint8), "JPEG", exif=b"Exif\0\0" + block)
    assert decode(data, LIMIT).shape == (16, 16, 3)


def test_after_a_large_image_memory_is_given_back(
    encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[None] = []
    monkeypatch.setattr(images, "give_back_memory_soon", lambda: asked.append(None))
    monkeypatch.setattr(images, "LARGE_BYTES", 3 * 8 * 8)
    for side, times in ((8, 0), (9, 1)):
        image = decode(encode(np.zeros((side, side, 3), np.uint8)), 100)
        assert image.shape == (side, side, 3)
        assert not asked
        del image
        assert len(asked) == times
