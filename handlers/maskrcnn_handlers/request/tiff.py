"""TIFF: kinds whose pixels Pillow does not give as they are, put right or refused by name.

Tags and their values: TIFF 6.0 (Adobe 1992). The oracle is OpenCV, which reads the images in
training.
"""

from io import BytesIO
from typing import NamedTuple

import PIL.Image
from PIL import TiffImagePlugin
from PIL.TiffImagePlugin import COMPRESSION_INFO

from maskrcnn_server.errors import InvalidImage

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a file, in either byte order, and of BigTIFF."""
PREVIEW, BITS, COMPRESSION, PHOTOMETRIC = 254, 258, 259, 262
SAMPLES, PLANAR, PREDICTOR, SAMPLE_FORMAT = 277, 284, 317, 339
WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1
PHOTOMETRICS = {
    0: "gray, white is 0",
    **{1: "gray", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "LAB"},
}
NUMBERS = {1: "", 2: "signed ", 3: "floating-point ", 5: "complex ", 6: "complex "}
PREDICTED = (5, 8, 32946, 34925, 50000)
"""Compressions that may store differences between pixels: LZW, deflate, LZMA, Zstandard."""
ADVICE = "save it as gray or RGB of 8 or 16 bits without sign, with LZW or without compression"


class Kind(NamedTuple):
    """What the first image of a file is."""

    bits: int
    sample_format: int
    photometric: int
    samples: int
    compression: int
    predictor: int
    is_preview: bool


def check(data: bytes) -> None:
    """Raises InvalidImage, saying what it is, for a kind without agreed pixels of 8 bits."""
    kind = _kind(data)
    if kind is None:
        return
    said, reason = describe(data), None
    if kind.sample_format == 3:
        reason = "floating-point pixels have no agreed range"
    elif kind.bits not in (1, 2, 4, 8, 16):
        reason = f"{kind.bits} bits have no agreed range"
    elif kind.sample_format not in (1, 4):
        reason = "such numbers have no agreed range"
    elif kind.predictor > 1 and kind.compression not in PREDICTED:
        reason = "programs do not agree on a predictor with this compression"
    elif kind.is_preview:
        reason = "its first image is a preview of another, as in raw files of cameras"
    if reason:
        raise InvalidImage(f"{said}: {reason}; {ADVICE}")
    if kind.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO) and kind.samples > 2:
        raise InvalidImage(
            f"{said}: {kind.samples} channels are marked as gray (PhotometricInterpretation is "
            f"{'MinIsWhite' if kind.photometric == WHITE_IS_ZERO else 'MinIsBlack'}); save three "
            "of them as RGB"
        )


def describe(data: bytes) -> str:
    """A TIFF image in words."""
    kind = _kind(data)
    if kind is None:
        order = "a BigTIFF image of big endian" if data.startswith(b"MM\0+") else "a TIFF image"
        return f"{order} whose tags cannot be read"
    number = NUMBERS.get(kind.sample_format, "")
    colours = PHOTOMETRICS.get(kind.photometric, f"PhotometricInterpretation {kind.photometric}")
    channels = "1 channel" if kind.samples == 1 else f"{kind.samples} channels"
    packed = COMPRESSION_INFO.get(kind.compression, kind.compression)
    packed = "" if packed == "raw" else f", compression {packed}"
    return f"a TIFF image ({colours}, {channels} of {kind.bits} {number}bits{packed})"


def prepare(image: PIL.Image.Image) -> bool:
    """Make the image ready to load: planes of 16 bits are read as such, and colours with
    associated alpha as they are stored.

    True if 0 is white in the numbers that Pillow gives, which inverts 8 bits only.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    bits = image.tag_v2.get(BITS, (1,))
    planes = bits[0] == 16 and image.tag_v2.get(PLANAR) == 2
    order = "L" if image.tag_v2.prefix == b"II" else "B"
    tiles = []
    for tile in image.tile:
        arguments = tile.args
        mode = arguments[0] if isinstance(arguments, tuple) else arguments
        if tile.codec_name == "raw" and planes and isinstance(mode, str) and mode in "RGBA":
            mode = f"{mode};16{order}"
        elif isinstance(mode, str) and mode.startswith("RGBa"):
            mode = mode.replace("RGBa", "RGBA")
        changed = (mode, *arguments[1:]) if isinstance(arguments, tuple) else mode
        tiles.append(tile._replace(args=changed))
    image.tile = tiles
    return bool(image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO)


def _kind(data: bytes) -> Kind | None:
    """The first image. None: its tags cannot be read; Pillow reads no BigTIFF of big endian."""
    if data.startswith(b"MM\0+"):
        return None
    try:
        file = BytesIO(data)
        header = file.read(16 if data[2:3] == b"+" else 8)
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        file.seek(tags.next)
        tags.load(file)
        return Kind(
            bits=max(_several(tags.get(BITS, 1))),
            sample_format=max(_several(tags.get(SAMPLE_FORMAT, 1))),
            photometric=int(tags.get(PHOTOMETRIC, WHITE_IS_ZERO)),
            samples=int(tags.get(SAMPLES, 1)),
            compression=int(tags.get(COMPRESSION, 1)),
            predictor=int(tags.get(PREDICTOR, 1)),
            is_preview=bool(int(tags.get(PREVIEW, 0)) & 1),
        )
    # Broken tags raise almost anything: struct.error, SyntaxError, KeyError, ...
    except Exception:
        return None


def _several(value: object) -> tuple[int, ...]:
    return tuple(map(int, value)) if isinstance(value, tuple) else (int(str(value)),)
