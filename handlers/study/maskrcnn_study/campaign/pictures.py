"""Images of a campaign: good ones with shapes to find, and hostile ones."""

import base64
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from io import BytesIO

import numpy as np
import PIL.Image
import PIL.ImageDraw

from maskrcnn_study.campaign.exchange import post

SIDES = (64, 96, 160)
BOMB_BYTES = 1 << 26
FORMS: Sequence[tuple[str, str, dict[str, object]]] = (
    ("JPEG", "RGB", {}),
    ("JPEG", "CMYK", {}),
    ("JPEG", "L", {"progressive": True}),
    ("JPEG", "RGB", {"exif": b"Exif\0\0no TIFF header"}),
    ("PNG", "RGB", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "P", {}),
    ("PNG", "LA", {}),
    ("PNG", "1", {}),
    ("PNG", "I;16", {}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("GIF", "P", {}),
    ("BMP", "RGB", {}),
    ("PPM", "RGB", {}),
    ("ICO", "RGBA", {}),
    ("TIFF", "RGB", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "RGB", {"compression": "tiff_adobe_deflate"}),
    ("TIFF", "CMYK", {}),
    ("TIFF", "I;16", {}),
    ("TIFF", "F", {}),
    ("TIFF", "1", {"compression": "group4"}),
)
"""Formats, modes and options of the images that are damaged."""
TYPES = ("image/png", "image/jpeg", "image/webp", "application/x-image")


def shapes(seed: int, side: int) -> PIL.Image.Image:
    """A dark image with three bright shapes."""
    chance = random.Random(f"shapes {seed}")  # noqa: S311 (not for secrets)
    ground = tuple(chance.randrange(60) for _ in range(3))
    image = PIL.Image.new("RGB", (side, side), ground)
    draw = PIL.ImageDraw.Draw(image)
    for _ in range(3):
        x, y = chance.randrange(side * 3 // 4), chance.randrange(side * 3 // 4)
        size = chance.randrange(side // 5, side // 3)
        colour = tuple(chance.randrange(150, 256) for _ in range(3))
        shape = chance.choice([draw.rectangle, draw.ellipse])
        shape([x, y, x + size, y + size], fill=colour)
    return image


def encoded(image: PIL.Image.Image, form: str = "PNG", **options: object) -> bytes:
    """The file of an image."""
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def hostile_image(chance: random.Random) -> bytes:
    """A request with an image that is damaged, too large, or odd."""
    make = chance.choice(MAKERS)
    file = make(chance)
    if make in (_array, _short_array):
        return post("/invocations", "application/x-npy", file)
    if chance.random() < 0.3:
        body = b'{"img_id":"a","img_data":"' + base64.b64encode(file) + b'"}'
        return post("/invocations", "application/json", body)
    return post("/invocations", chance.choice(TYPES), file)


@lru_cache
def _good() -> Sequence[bytes]:
    files = []
    for number, (form, mode, options) in enumerate(FORMS):
        image = shapes(number, 64)
        if mode in ("I;16", "F"):
            grey = np.asarray(image.convert("L"))
            data = grey.astype(np.uint16 if mode == "I;16" else np.float32)
            image = PIL.Image.fromarray(data)
        else:
            image = image.convert(mode)
        files.append(encoded(image, form, **options))
    return files


def _cut(chance: random.Random) -> bytes:
    file = chance.choice(_good())
    return file[: chance.randrange(len(file))]


def _flipped(chance: random.Random) -> bytes:
    file = bytearray(chance.choice(_good()))
    # Most of what parsers believe is at the start.
    end = len(file) if chance.random() < 0.5 else min(len(file), 200)
    for _ in range(chance.choice([1, 3, 20])):
        file[chance.randrange(end)] = chance.randrange(256)
    return bytes(file)


def _joined(chance: random.Random) -> bytes:
    first, second = chance.choice(_good()), chance.choice(_good())
    return first[: chance.randrange(len(first))] + second


def _odd(chance: random.Random) -> bytes:
    return chance.choice(_good())


def _noise(chance: random.Random) -> bytes:
    start = chance.choice([b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"RIFF"])
    return start + chance.randbytes(chance.randrange(4000))


def _text(chance: random.Random) -> bytes:
    texts = [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<html>404</html>", b"%PDF-1.7", b""]
    return chance.choice(texts)


def _png_bomb(chance: random.Random) -> bytes:
    sides = [0, 1, 4, 60_000, 2**31 - 1, 2**32 - 1]
    kind = chance.choice([b"", b"zTXt", b"iCCP"])
    extra = _chunk(kind, b"a\0\0" + _bomb()) if kind else b""
    return _png(chance.choice(sides), chance.choice(sides), _bomb(), extra)


def _large_png(chance: random.Random) -> bytes:
    """One bit a pixel: as many pixels as a server may decode, in a small file."""
    side = chance.choice([1000, 2000, 4000, 7000])
    rows = zlib.compress(bytes((side // 8 + 1) * side), 1)
    return _png(side, side, rows, depth=1, colour=0)


def _tiff(chance: random.Random) -> bytes:
    """A directory of entries that point anywhere."""
    tags = (256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 322, 323, 324, 325, 339)
    entries = b""
    for tag in tags:
        value = chance.choice([0, 1, 3, 8, 64, 2**16, 2**31, 2**32 - 1])
        count = chance.choice([0, 1, 3, 2**31])
        entries += struct.pack("<HHII", tag, chance.choice([1, 3, 4, 5, 12, 99]), count, value)
    return (
        b"II*\0"
        + struct.pack("<IH", 8, len(tags))
        + entries
        + chance.choice([bytes(4), b"\x08\0\0\0"])
    )


def _array(chance: random.Random) -> bytes:
    shape = [chance.choice([0, 1, 8, 10**5, 10**9, -1]) for _ in range(chance.choice([2, 3, 3, 4]))]
    kind = chance.choice(["|u1", "|O", "<f8", "<U9", "|V8", "nonsense"])
    order = chance.choice([True, False])
    header = f"{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {tuple(shape)}}}"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(192)


def _short_array(chance: random.Random) -> bytes:
    file = BytesIO()
    np.save(file, np.zeros((16, 16, 3), np.uint8))
    data = bytearray(file.getvalue())
    for _ in range(3):
        data[chance.randrange(128)] = chance.randrange(256)
    return bytes(data[: chance.randrange(len(data))])


@lru_cache
def _bomb() -> bytes:
    return zlib.compress(bytes(BOMB_BYTES), 9)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(
    width: int, height: int, pixels: bytes, extra: bytes = b"", depth: int = 8, colour: int = 2
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (_chunk(b"IHDR", header), extra, _chunk(b"IDAT", pixels), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


Maker = Callable[[random.Random], bytes]
COMMON: tuple[Maker, ...] = (_cut, _flipped, _joined, _noise)
RARE: tuple[Maker, ...] = (
    _odd,
    _text,
    _png_bomb,
    _large_png,
    _tiff,
    _array,
    _short_array,
)
MAKERS = (*(COMMON * 12), *RARE)
"""What makes hostile images; damage is the most common."""
