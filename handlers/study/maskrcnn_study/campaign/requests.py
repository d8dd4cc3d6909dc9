"""Hostile requests: JSON bodies, headers, forms, and orders to load models."""

import base64
import json
import random
from collections.abc import Callable, Mapping

from maskrcnn_study.campaign.exchange import post
from maskrcnn_study.campaign.pictures import encoded, hostile_image, shapes

JSON = "application/json"
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
SMALL = encoded(shapes(0, 32))
BASE64 = base64.b64encode(SMALL).decode()
FIELDS = (
    "img_id",
    "img_data",
    "score_threshold",
    "mask_threshold",
    "max_detections",
    "classes",
    "format",
    "rle",
    "masks",
    "rpn",
    "instances",
)
HEADERS = (
    *[ATTRIBUTES, "Accept", "Content-Type", "X-Amzn-SageMaker-Target-Model", "Host", "Origin"],
    *["X-Request-Id", "X-Amzn-SageMaker-Inference-Id", "traceparent", "Authorization", "Cookie"],
    *["Accept-Encoding", "Content-Encoding", "Connection", "Range", "Sec-Fetch-Site"],
)
"""Headers that get odd values."""
ADDRESSES = (
    *["/", "/etc/passwd", "/dev/zero", "/dev/stdin", "/proc/self/mem", "/no/such", "a\0b", ""],
    *["x" * 300, "../" * 2000 + "etc", "/" + "a/" * 1000, "~root", "$HOME", "`id`", "file:///"],
    *["s3://b/k", "http://127.0.0.1:1/m.tar.gz", "http://u:p@127.0.0.1:1/x?sig=s", "hf://a/b"],
    *["https://127.0.0.1:1/", "http://[", "http://a:99999/", "gopher://a", "loop", "é\ud800"],
)
"""Addresses of models that are none."""
LARGE_RATE = 0.02
"""Share of bodies of megabytes among those that are long."""
_VALUES = (
    *[("", (1,), end) for end in ("null", "true", "-1", "0.5", "NaN", "-Infinity", "1e999")],
    *[("", (1,), end) for end in ('""', '"../../etc/passwd"', '"\\ud800"', "[]", "{}", "'a'")],
    *[
        ("", (1,), end)
        for end in ('"a\\u0000b\\r\\nSet-Cookie: c=d"', "0x10", "// a", '{"$ref":"#"}')
    ],
    ("1", (20, 400, 5000), ""),
    ("x", (10, 10, 1000, 1000, 100_000), ""),
    ("[", (3, 100, 9000), ""),
    ('{"a":', (3, 100, 9000), "1"),
    ("[1,", (1, 3, 40), "1]"),
    ("1,", (3, 40, 8000), "1"),
)
"""Parts of JSON values: what is repeated, how often, and what follows."""


def odd_json(chance: random.Random) -> str:
    """A JSON value, or what looks like one."""
    unit, counts, end = chance.choice(_VALUES)
    return unit * chance.choice(counts) + end


def hostile_json(chance: random.Random) -> bytes:
    """A request with a JSON body that nobody should send."""
    return post("/invocations", JSON, chance.choice(_BODIES)(chance))


def _fields(chance: random.Random) -> bytes:
    """An image with odd fields beside it, or in its place."""
    fields = {"img_id": '"a"', "img_data": f'"{BASE64}"'}
    for _ in range(chance.choice([1, 1, 2, 4])):
        fields[chance.choice(FIELDS)] = odd_json(chance)
    return _object(fields)


def _unknown(chance: random.Random) -> bytes:
    count = chance.choice([1, 10, 63, 64, 65, 1000])
    if chance.random() < LARGE_RATE:
        count = 300_000
    return _object({f"k{i}": odd_json(chance) if i < 3 else "1" for i in range(count)})


def _damaged(chance: random.Random) -> bytes:
    body = bytearray(
        _object({"img_id": '"a"', "img_data": f'"{BASE64}"', "score_threshold": "0.5"})
    )
    for _ in range(chance.choice([1, 5, 50])):
        body[chance.randrange(len(body))] = chance.randrange(256)
    return bytes(body[: chance.randrange(1, len(body) + 1)])


def _recoded(chance: random.Random) -> bytes:
    text = _object({"img_id": '"a"', "img_data": f'"{BASE64}"'}).decode()
    codec = chance.choice(["utf-16", "utf-32", "utf-8-sig", "utf-7"])
    return text.encode(codec)


def _long(chance: random.Random) -> bytes:
    if chance.random() > LARGE_RATE:
        return b" " * chance.randrange(5000) + b"{}"
    unit = chance.choice([b" ", b"[", b'{"a":1,', b'"a",', b"1,", b'{"a":', b"\\u0041", b"\xff"])
    return b"{" + unit * (chance.choice([2, 8, 30]) * 2**20 // len(unit))


def _several(chance: random.Random) -> bytes:
    count = chance.choice([0, 1, 2, 33, 500])
    good = f'{{"img_id":"a","img_data":"{BASE64}"}}'
    entries = [odd_json(chance) if chance.random() < 0.5 else good for _ in range(count)]
    return ('{"instances":[' + ",".join(entries) + "]}").encode()


def _object(fields: Mapping[str, str]) -> bytes:
    return ("{" + ",".join(f'"{key}":{value}' for key, value in fields.items()) + "}").encode()


_BODIES: tuple[Callable[[random.Random], bytes], ...] = (
    _fields,
    _fields,
    _fields,
    _unknown,
    _damaged,
    _damaged,
    _recoded,
    _long,
    _several,
)


_STARTS = (
    *["", "", ";", "text/html", "*/*;", "format=", "format=../coco;", "score_threshold=0.5;"],
    *[
        "a/b;q=1," * 3,
        "a/b;q=1," * 1000,
        "*/*;" + "a=b;" * 500,
        ";" * 1000,
        "multipart/form-data; ",
    ],
    *["application/json;charset=", "multipart/form-data; boundary=", "image/png", "Bearer "],
)
"""What values of headers begin with."""
_LENGTHS = (*[1, 20, 20, 200, 200, 3000] * 5, 70_000)


def _garbage(chance: random.Random, longest: int) -> str:
    pool = "abcXYZ019 ;=,/*q.\"'%\\()<>@:\t\xe9\xff"
    unit = "".join(chance.choice(pool) for _ in range(chance.randrange(1, 12)))
    return unit * (chance.choice([1, longest // 20, longest]) // len(unit) + 1)


def hostile_headers(chance: random.Random) -> bytes:
    """A request with a good image and headers that are odd, long or many."""
    name = chance.choice(HEADERS)
    value = chance.choice(_STARTS) + _garbage(chance, chance.choice(_LENGTHS))
    content_type = "" if name == "Content-Type" else "image/png"
    more = [f"X-{i}: {i}" for i in range(chance.choice(_MORE))]
    path = chance.choice([*["/invocations"] * 6, "/models/a/invoke", "/%00", "//invocations"])
    return post(path, content_type, SMALL, f"{name}: {value}", *more)


_MORE = (*[0] * 20, 50, 50, 500, 500, 5000)
"""Numbers of further headers."""
_PARTS = (*[0, 1, 2, 5] * 9, 70, 70, 10_000)
"""Numbers of parts of a form."""


def hostile_form(chance: random.Random) -> bytes:
    """A form with odd parts."""
    boundary = chance.choice(["b", "b", "b", "b" * 70, "b" * 5000, "--", "", '"', "\xe9"])
    count = chance.choice(_PARTS)
    few = [_part(chance, boundary) for _ in range(min(count, 70))]
    parts = b"".join(few) + f"--{boundary}\r\n\r\n\r\n".encode("latin-1") * (count - len(few))
    end = chance.choice([f"--{boundary}--\r\n", f"--{boundary}", "", "--"]).encode("latin-1")
    body = parts + end
    if chance.random() < 0.3:
        body = body[: chance.randrange(len(body) + 1)]
    return post("/invocations", f"multipart/form-data; boundary={boundary}", body)


def _part(chance: random.Random, boundary: str) -> bytes:
    name = chance.choice(["image", "image", *FIELDS, "", "x" * 1000, '"', "a\tb"])
    header = f'Content-Disposition: form-data; name="{name}"; filename="../a.png"'
    odd = ["", "x" * 5000, "Content-Disposition: " + "a;" * 500]
    header = chance.choice([*[header] * 6, *odd])
    body = SMALL if chance.random() < 0.5 else odd_json(chance).encode()
    return f"--{boundary}\r\n{header}\r\n\r\n".encode("latin-1") + body + b"\r\n"


def hostile_order(chance: random.Random) -> bytes:
    """An order to load or unload a model that nobody should send."""
    name = chance.choice(
        ["a", "../a", "a/b", "a\0b", "a\nb", "x" * 300, "", ".", "..", "-a", "é", "%2e%2e", "con"]
    )
    address = chance.choice(ADDRESSES)
    if chance.random() < 0.2:
        path = chance.choice(["a", "..", "%2e%2e%2fetc", "a%00b", "x" * 300, "%0a", "a/b/c"])
        return f"DELETE /models/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    order: object = {"model_name": name, "url": address}
    is_order = chance.random() < 0.8
    body = json.dumps(order).encode() if is_order else chance.choice(_BODIES)(chance)
    extra = chance.choice(
        [[], [], ["Origin: https://evil.example"], ["Sec-Fetch-Site: cross-site"]]
    )
    return post("/models", chance.choice([JSON, JSON, "text/plain", ""]), body, *extra)


HOSTILE: Mapping[str, Callable[[random.Random], bytes]] = {
    "JSON bodies": hostile_json,
    "images": hostile_image,
    "headers": hostile_headers,
    "forms": hostile_form,
    "orders to load models": hostile_order,
}
"""Kinds of hostile requests, and what makes one."""
