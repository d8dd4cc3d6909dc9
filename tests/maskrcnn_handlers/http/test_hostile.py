"""What a hostile or careless client sends, and what it gets: an error of the contract, no more."""

import base64
import json
import pickle
import struct
import sys
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import PIL.Image
import pytest

ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
JSON = "application/json"
OK = ""


class Case(NamedTuple):
    id: str
    body: Any
    status: int
    code: str
    type: str | None = JSON
    headers: dict[str, str] = {}  # noqa: RUF012 (nobody changes it)
    method: str = "POST"
    path: str = "/invocations"


def image(form: str = "PNG", side: int = 64, **options: Any) -> bytes:
    file = BytesIO()
    noise = np.random.RandomState(0).randint(0, 256, (side, side, 3), np.uint8)
    PIL.Image.fromarray(noise).save(file, form, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), extra, chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


GOOD = image()
BASE64 = base64.b64encode(GOOD).decode()
BOMB = zlib.compress(bytes(2**26), 9)
FIELDS = {"img_id": "a.png", "img_data": BASE64}


def ask(**fields: Any) -> bytes:
    return json.dumps(FIELDS | fields).encode()


def raw(field: str, value: str) -> bytes:
    """A request in which the value is no JSON that Python would write."""
    return f'{{"img_id": "a", "img_data": "{BASE64}", "{field}": {value}}}'.encode()


def of(data: bytes) -> bytes:
    return ask(img_data=base64.b64encode(data).decode())


def part(header: str, contents: bytes) -> bytes:
    return f"--b\r\nContent-Disposition: form-data; {header}\r\n\r\n".encode() + contents + b"\r\n"


def npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


SEVERAL = json.dumps({"instances": [FIELDS]}).encode()
MULTIPART = "multipart/form-data; boundary=b"
FORM = part('name="image"; filename="../a.png"', GOOD) + b"--b--\r\n"
PARTS = part('name=""', b"") * 10_000 + b"--b--\r\n"
PROMISE = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (100000, 100000, 3)}")
OBJECTS = npy(
    "{'descr': '|O', 'fortran_order': False, 'shape': (8, 8, 3)}", pickle.dumps([1] * 192)
)

BAD, IMAGE, LARGE = "invalid_request", "invalid_image", "image_too_large"
TYPE, ACCEPT, PAYLOAD = "unsupported_content_type", "not_acceptable", "payload_too_large"

CASES = [
    Case("empty body", b"", 400, BAD),
    Case("empty body as image", b"", 422, IMAGE, "image/png"),
    Case("zero bytes of image", of(b""), 422, IMAGE),
    Case("truncated JPEG", of(image("JPEG")[:-900]), 422, IMAGE),
    Case("truncated PNG", of(GOOD[:-900]), 422, IMAGE),
    Case("JPEG of noise", of(b"\xff\xd8\xff\xe0" + bytes(range(256)) * 9), 422, IMAGE),
    Case("text as image", of(b"no image at all"), 422, IMAGE),
    Case("HTML as image", b"<html><body>404</body></html>", 422, IMAGE, "image/jpeg"),
    Case("SVG as image", of(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), 422, IMAGE),
    Case("PPM as image", of(image("PPM")), 422, IMAGE),
    Case("JSON as image", ask(), 422, IMAGE, "image/png"),
    Case("3.6 gigapixels", of(png(60_000, 60_000, b"")), 422, LARGE),
    Case("PNG of no width", of(png(0, 8, b"")), 422, IMAGE),
    Case("PNG of width 2**32 - 1", of(png(2**32 - 1, 8, b"")), 422, LARGE),
    Case("bomb behind the pixels", of(png(4, 4, BOMB)), 200, OK),
    Case("bomb as text", of(png(4, 4, BOMB, chunk(b"zTXt", b"a\0\0" + BOMB))), 422, IMAGE),
    Case("bomb as profile", of(png(4, 4, BOMB, chunk(b"iCCP", b"a\0\0" + BOMB))), 422, IMAGE),
    Case("corrupt EXIF", of(image("JPEG", exif=b"Exif\0\0no TIFF header")), 200, OK),
    Case("base64 beyond ASCII", ask(img_data="QUJ\u0661"), 400, BAD),
    Case("img_data is a list", ask(img_data=[1, 2]), 400, BAD),
    Case("img_data is a path", ask(img_data="/etc/passwd"), 400, BAD),
    Case("unknown field", ask(model="other"), 400, BAD),
    Case("unknown field of 10 kB", ask(**{"x" * 10_000: 1}), 200, OK),
    Case("a million fields", b"{" + b'"a":1,' * 150_000 + b"}", 400, BAD),
    Case("same key twice", raw("img_id", '"b"'), 200, OK),
    Case("deep arrays", b"[" * 100_000, 400, BAD),
    Case("deep objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400, BAD),
    Case("trailing garbage", ask() + b" x", 400, BAD),
    Case("half a surrogate pair", raw("format", '"\\ud800"'), 400, BAD),
    Case("UTF-16", ask().decode().encode("utf-16"), 400, BAD),
    Case("byte order mark", b"\xef\xbb\xbf" + ask(), 400, BAD),
    Case("threshold NaN", raw("score_threshold", "NaN"), 400, BAD),
    Case("threshold Infinity", raw("score_threshold", "Infinity"), 400, BAD),
    Case("threshold 1e999", raw("score_threshold", "1e999"), 400, BAD),
    Case("threshold 2", ask(score_threshold=2), 400, BAD),
    Case("mask_threshold NaN", raw("mask_threshold", "NaN"), 400, BAD),
    Case("max_detections -1", ask(max_detections=-1), 400, BAD),
    Case("max_detections 10**30", ask(max_detections=10**30), 200, OK),
    Case("img_id is an object", ask(img_id={"$ref": "a"}), 400, BAD),
    Case("img_id leaves its folder", ask(img_id="../../etc/passwd"), 200, OK),
    Case("img_id with NUL and newline", ask(img_id="a\0b\r\nSet-Cookie: c=d"), 200, OK),
    Case("img_id of 40 digits", ask(img_id=10**40), 200, OK),
    Case("img_id of 5000 digits", raw("img_id", "1" * 5000), 400, BAD),
    Case("unknown format", ask(format="yolo"), 406, ACCEPT),
    Case("format is a path", ask(format="../coco"), 406, ACCEPT),
    Case("format of 10000 characters", ask(format="x" * 10_000), 400, BAD),
    Case("classes of another model", ask(classes=["person"]), 400, BAD),
    Case("class 10**30", ask(classes=[10**30]), 400, BAD),
    Case("instances beside an image", ask(instances=[FIELDS]), 400, BAD),
    Case("several as a picture", SEVERAL, 406, ACCEPT, JSON, {"Accept": "image/png"}),
    Case("array that promises much", PROMISE, 422, LARGE, "application/x-npy"),
    Case("array of objects", OBJECTS, 422, IMAGE, "application/x-npy"),
    Case("array in base64", of(OBJECTS), 422, IMAGE),
    Case("empty array", b"", 422, IMAGE, "application/x-npy"),
    Case("form", FORM, 200, OK, MULTIPART),
    Case("form of many parts", PARTS, 400, BAD, MULTIPART),
    Case("form of one long header", b"--b\r\n" + b"x" * 10**5, 400, BAD, MULTIPART),
    Case("text/plain", ask(), 415, TYPE, "text/plain"),
    Case("image/svg", b"<svg></svg>", 415, TYPE, "image/svg+xml"),
    Case("no content type", ask(), 415, TYPE, None),
    Case("content type is garbage", ask(), 415, TYPE, ";;/==\x01"),
    Case("content type of 10 kB", ask(), 415, TYPE, "x" * 10_000),
    Case("unknown charset", ask(), 200, OK, f"{JSON}; charset=no-such"),
    Case("accepts HTML only", GOOD, 406, ACCEPT, "image/png", {"Accept": "text/html"}),
    Case("Accept is garbage", GOOD, 406, ACCEPT, "image/png", {"Accept": ";;;=q=,,/"}),
    Case("the notebook accepts HTML only", ask(), 200, OK, JSON, {"Accept": "text/html"}),
    Case("Accept of 10 kB", ask(), 406, ACCEPT, JSON, {"Accept": "a/b;q=1," * 1250}),
    Case("Accept with bad charset", GOOD, 406, ACCEPT, "image/png", {"Accept": "a/b;q*=no''1"}),
    Case("body over the limit", bytes(2**20 + 1), 413, PAYLOAD, "image/png"),
    Case("declared over the limit", b"x", 413, PAYLOAD, JSON, {"Content-Length": "99999999999"}),
    Case("chunked over the limit", [bytes(2**19)] * 3, 413, PAYLOAD, "image/png"),
    Case("attribute of format", GOOD, 406, ACCEPT, "image/png", {ATTRIBUTES: "format=a=b"}),
    Case("attributes empty", GOOD, 200, OK, "image/png", {ATTRIBUTES: ";;; ;"}),
    Case("GET", b"", 405, BAD, None, {}, "GET"),
    Case("DELETE", b"", 405, BAD, None, {}, "DELETE"),
    Case("strange method", b"", 405, BAD, None, {}, "BREW"),
    Case("unknown path", ask(), 404, BAD, JSON, {}, "POST", "/predict"),
    Case("path of files", b"", 404, BAD, None, {}, "GET", "/../../etc/passwd"),
    Case("path with NUL", b"", 404, BAD, None, {}, "GET", "/%00"),
]


def send(client: httpx.Client, case: Case) -> httpx.Response:
    headers = case.headers | ({} if case.type is None else {"Content-Type": case.type})
    body = iter(case.body) if isinstance(case.body, list) else case.body
    return client.request(case.method, case.path, content=body, headers=headers)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_hostile_requests_get_an_error_and_harm_nobody(client: httpx.Client, case: Case) -> None:
    reply = send(client, case)
    assert reply.status_code == case.status, reply.text[:500]
    assert reply.headers["content-type"] == JSON
    if case.code == OK:
        assert "annotations" in reply.json()
    else:
        assert_error(reply, case.code)
    good = client.post("/invocations", json=FIELDS)
    assert good.status_code == 200
    assert good.json()["img_id"] == "a.png"


def assert_error(reply: httpx.Response, code: str) -> None:
    body = reply.json()
    assert set(body) == {"error", "request_id"}
    assert set(body["error"]) == {"code", "message", "detail"}
    assert body["error"]["code"] == code
    assert len(body["request_id"]) == 32
    assert len(reply.content) < 1000
    for leak in ("Traceback", ".py", "site-packages", str(Path(__file__).parents[3]), BASE64[:24]):
        assert leak not in reply.text


@pytest.mark.parametrize("hostile", ["../../etc/passwd", "a\0b\r\nSet-Cookie: c=d", 10**40])
def test_hostile_names_are_returned_and_no_more(client: httpx.Client, hostile: str | int) -> None:
    reply = client.post("/invocations", content=ask(img_id=hostile), headers={"Content-Type": JSON})
    assert reply.json()["img_id"] == hostile
    assert "set-cookie" not in reply.headers


@pytest.fixture(scope="module")
def written() -> Iterator[list[object]]:
    """The files that are opened for writing, or made, while the list is in use."""
    paths: list[object] = []
    active = True

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if not active or event not in ("open", "os.mkdir", "os.rename", "os.link", "os.symlink"):
            return
        if event == "open":
            path, mode, flags = args
            writing = set(mode or "") & set("wax+") or flags & 0b11 or flags & 0o100
            if isinstance(path, int) or not writing:
                return
        paths.append(args[0])

    sys.addaudithook(hook)
    yield paths
    active = False


def test_the_watch_for_written_files_sees_them(written: list[object], tmp_path: Path) -> None:
    (tmp_path / "seen").write_text("")
    assert str(tmp_path / "seen") in [str(path) for path in written]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_no_request_writes_a_file(client: httpx.Client, written: list[object]) -> None:
    written.clear()
    for case in CASES:
        send(client, case)
    for form in ("JPEG", "PNG", "WEBP", "BMP", "TIFF"):
        assert client.post("/invocations", content=of(image(form)), headers={"Content-Type": JSON})
    assert written == []
