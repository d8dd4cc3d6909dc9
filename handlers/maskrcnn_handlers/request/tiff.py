"""TIFF: kinds whose pixels Pillow does not give as they are, put right or refused by name.

Tags and their values: TIFF 6.0 (Adobe 1992). The oracle is OpenCV, which reads the images in
training.
"""

from io import BytesIO

import PIL.Image
from PIL import TiffImagePlugin

from maskrcnn_server.errors import InvalidImage

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a file, in either byte order, and of BigTIFF."""
BITS, PHOTOMETRIC, SAMPLES, PLANAR, SAMPLE_FORMAT = 258, 262, 277, 284, 339
WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1
PHOTOMETRICS = {0: "gray", 1: "gray", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "LAB"}
NUMBERS = {1: "", 2: "signed ", 3: "floating-point ", 5: "complex ", 6: "complex "}
ADVICE = "save it as gray or RGB of 8 or 16 bits without sign"


def check(data: bytes) -> None:
    """Raises InvalidImage, saying what it is, for a kind without agreed pixels of 8 bits."""
    kind = _kind(data)
    if kind is None:
        return
    bits, sample_format, photometric, samples = kind
    said = describe(data)
    if sample_format == 3:
        raise InvalidImage(f"{said}: floating-point pixels have no agreed range; {ADVICE}")
    if bits not in (1, 2, 4, 8, 16):
        raise InvalidImage(f"{said}: {bits} bits have no agreed range; {ADVICE}")
    if sample_format not in (1, 4) and bits > 8:
        raise InvalidImage(f"{said}: such numbers have no agreed range; {ADVICE}")
    if photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO) and samples > 2:
        raise InvalidImage(
            f"{said}: {samples} channels are marked as gray (PhotometricInterpretation is "
            f"{'MinIsWhite' if photometric == WHITE_IS_ZERO else 'MinIsBlack'}); save three of "
            "them as RGB"
        )


def describe(data: bytes) -> str:
    """A TIFF image in words."""
    kind = _kind(data)
    if kind is None:
        return "a TIFF image whose tags cannot be read"
    bits, sample_format, photometric, samples = kind
    number = NUMBERS.get(sample_format, "")
    colours = PHOTOMETRICS.get(photometric, f"PhotometricInterpretation {photometric}")
    channels = "1 channel" if samples == 1 else f"{samples} channels"
    return f"a TIFF image ({colours}, {channels} of {bits} {number}bits)"


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


def _kind(data: bytes) -> tuple[int, int, int, int] | None:
    """Bits, sample format, photometric interpretation and channels of the first image."""
    try:
        file = BytesIO(data)
        header = file.read(16 if data[2:3] == b"+" else 8)
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        file.seek(tags.next)
        tags.load(file)
        bits, formats = _several(tags.get(BITS, 1)), _several(tags.get(SAMPLE_FORMAT, 1))
        return (
            max(bits),
            max(formats),
            int(tags.get(PHOTOMETRIC, WHITE_IS_ZERO)),
            int(tags.get(SAMPLES, 1)),
        )
    # Broken tags raise almost anything: struct.error, SyntaxError, KeyError, ...
    except Exception:
        return None


def _several(value: object) -> tuple[int, ...]:
    return tuple(map(int, value)) if isinstance(value, tuple) else (int(str(value)),)
