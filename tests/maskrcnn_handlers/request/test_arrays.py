import ast
import io
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest

from maskrcnn_handlers.request.images import decode
from maskrcnn_server.errors import ImageTooLarge, InvalidImage

PIXELS = np.random.RandomState(0).randint(0, 256, (5, 7, 3), np.uint8)


def npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def with_header(header: str, pixels: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    size = len(header).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + header.encode("latin1") + pixels


def header(**parts: Any) -> str:
    whole = {"descr": "|u1", "fortran_order": False, "shape": (5, 7, 3)} | parts
    return repr(whole) + "\n"


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_the_image(order: Any) -> None:
    image = decode(npy(np.array(PIXELS, order=order)), 35)
    np.testing.assert_array_equal(image, PIXELS)
    assert image.flags.c_contiguous
    assert image.flags.writeable
    assert image.dtype == np.uint8


def test_the_second_version_of_the_format_is_read() -> None:
    data = with_header(header(), PIXELS.tobytes(), (2, 0))
    np.testing.assert_array_equal(decode(data, 35), PIXELS)


@pytest.mark.parametrize(
    "text",
    [
        "{'shape': (5, 7, 3), 'descr': '|u1', 'fortran_order': False, }  \n",
        '{"descr":"<u1","fortran_order":False,"shape":(5,7,3,)}',
    ],
    ids=["another order", "another program"],
)
def test_headers_of_other_programs_are_read(text: str) -> None:
    np.testing.assert_array_equal(decode(with_header(text, PIXELS.tobytes()), 35), PIXELS)


def test_arrays_are_read_without_a_parser_that_threads_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In Python 3.11, two threads that make syntax trees disturb each other: cpython#106905."""
    data = npy(PIXELS)
    monkeypatch.setattr(ast, "literal_eval", None)
    np.testing.assert_array_equal(decode(data, 35), PIXELS)


@pytest.mark.parametrize(
    "data",
    [
        npy(PIXELS.astype(np.float32)),
        npy(PIXELS.astype(np.int8)),
        npy(PIXELS[:, :, 0]),
        npy(PIXELS[:, :, :1]),
        npy(PIXELS[None]),
        npy(PIXELS[:0]),
        npy(np.array([{}]), allow_pickle=True),
        npy(np.zeros(3, [("a", "u1")])),
        npy(PIXELS)[:-1],
        npy(PIXELS) + b"x",
        npy(PIXELS)[:20],
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00" + bytes(99),
        with_header(header(descr="|O"), pickle.dumps(PIXELS)),
        with_header(header(shape=(-5, -7, 3)), PIXELS.tobytes()),
        with_header(header(shape=(5, 7, 3, 0)), PIXELS.tobytes()),
        with_header(header(shape=(True, 35, 3)), PIXELS.tobytes()[:-1]),
        with_header(header(shape=[5, 7, 3]), PIXELS.tobytes()),
        with_header("__import__('os').system('false')"),
        with_header("(" * 9000),
        with_header("[" * 60_000),
        with_header(header() + " " * 20_000, PIXELS.tobytes(), (2, 0)),
        with_header("", b"\xff" * 8, (2, 0)),
        with_header(header(), PIXELS.tobytes(), (3, 0)),
        with_header(header(shape=(0, 7, 3))),
    ],
    ids=range(25),
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        decode(data, 10**9)


def test_an_array_is_measured_before_it_is_made() -> None:
    data = with_header(header(shape=(10**6, 10**6, 3)))
    tracemalloc.start()
    with pytest.raises(ImageTooLarge, match="at most 100 are allowed"):
        decode(data, 100)
    with pytest.raises(InvalidImage, match="0 bytes"):
        decode(data, 10**13)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_sizes_without_end_are_refused_briefly() -> None:
    with pytest.raises(ImageTooLarge) as refused:
        decode(with_header(header(shape=(10**4000, 10**4000, 3))), 100)
    assert len(refused.value.message) < 200
