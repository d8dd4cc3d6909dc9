import base64
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from maskrcnn_handlers.request.envelope import Envelope
from maskrcnn_handlers.request.requests import (
    LINES,
    MAX_FIELDS,
    MAX_IMAGES,
    MAX_JSON_VALUES,
    RAW,
    Encoded,
    InferenceRequest,
    parse,
)
from maskrcnn_server.errors import RequestError, UnsupportedContentType
from maskrcnn_server.options import Options

FORM = "multipart/form-data; boundary=b"
IMAGE = b"\x89PNG any bytes \xff\x00"
NOTEBOOK: dict[str, Any] = {
    "img_id": "000000000139.jpg",
    "img_data": base64.b64encode(IMAGE).decode(),
}


def read(body: bytes, content_type: str, attributes: str = "") -> InferenceRequest:
    return parse(Envelope.of(body, content_type, "", attributes))


def parsed(attributes: str = "", /, **fields: Any) -> InferenceRequest:
    body = json.dumps(NOTEBOOK | fields).encode()
    return read(body, "application/json", attributes)


def test_the_notebooks_request_asks_for_the_defaults() -> None:
    image = Encoded("000000000139.jpg", IMAGE)
    assert parsed() == InferenceRequest([image], Options(), negotiates=False)


def test_every_option_may_be_a_json_field() -> None:
    fields: dict[str, Any] = {
        "score_threshold": 0.25,
        "mask_threshold": 0.75,
        "max_detections": 3,
        "masks": False,
        "rpn": True,
        "format": "coco",
        "classes": ["person", 3],
        "rle": "columns",
        "tile": "640x512",
        "overlap": 0.5,
        "overview": True,
    }
    assert set(fields) == set(Options.model_fields)
    assert parsed(**fields).options == Options(**fields)


@pytest.mark.parametrize("content_type", RAW)
def test_an_image_may_be_the_body(content_type: str) -> None:
    request = read(IMAGE, content_type)
    assert request.images == [Encoded("", IMAGE)]
    assert request.layout == "single"


def test_every_option_may_be_a_custom_attribute() -> None:
    attributes = (
        "img_id=a.jpg;score_threshold=0.25; mask_threshold = 0.75;max_detections=3;"
        "masks=false;rpn=true;format=coco;"
        "rle=columns;classes=person, 3"
    )
    request = read(IMAGE, "image/jpeg", attributes)
    assert request == InferenceRequest(
        [Encoded("a.jpg", IMAGE)],
        Options(
            score_threshold=0.25,
            mask_threshold=0.75,
            max_detections=3,
            masks=False,
            rpn=True,
            format="coco",
            classes=["person", "3"],
            rle="columns",
        ),
    )


def test_json_fields_win_over_custom_attributes() -> None:
    request = parsed("score_threshold=0.9;max_detections=7;img_id=b", score_threshold=0.1)
    assert request.options.score_threshold == 0.1
    assert request.options.max_detections == 7
    assert request.images == [Encoded(NOTEBOOK["img_id"], IMAGE)]


def test_a_field_that_is_null_counts_as_not_named() -> None:
    assert parsed(score_threshold=None, format=None) == parsed()
    assert parsed("format=coco", format=None).options.format == "coco"


@pytest.mark.parametrize("value", ["", "../../etc/passwd", "a\0b\n", "ünï", "x" * 1024, 0, -5, 139])
def test_an_image_id_is_returned_as_it_came(value: str | int) -> None:
    (image,) = parsed(img_id=value).images
    assert isinstance(image, Encoded)
    image_id = image.image_id
    assert image_id == value
    assert type(image_id) is type(value)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        " application/json ",
    ],
)
def test_content_types_may_have_parameters_and_capitals(content_type: str) -> None:
    request = read(json.dumps(NOTEBOOK).encode(), content_type)
    assert request.images == [Encoded(NOTEBOOK["img_id"], IMAGE)]


OTHERS = ("", "text/plain", "text/html", "json", ";", "*/*", "application/octet-stream")


@pytest.mark.parametrize("content_type", [*OTHERS, "application/json", "image/webp"])
@pytest.mark.parametrize(
    "start",
    [b"\xff\xd8\xff", b"\x89PNG", b"RIFF....WEBP", b"BM", b"GIF89a", b"MM\0*", b"\x93NUMPY"],
)
def test_an_image_is_known_by_its_first_bytes(content_type: str, start: bytes) -> None:
    assert read(start + IMAGE, content_type, "img_id=a").images == [Encoded("a", start + IMAGE)]


@pytest.mark.parametrize("content_type", [*OTHERS, "application/json", FORM])
def test_an_empty_body_is_said_to_be_empty(content_type: str) -> None:
    with pytest.raises(RequestError, match="it is empty"):
        read(b"", content_type)


@pytest.mark.parametrize("content_type", OTHERS[:-1])
def test_other_content_types_are_refused_with_the_choices(content_type: str) -> None:
    with pytest.raises(UnsupportedContentType) as refused:
        read(b"no image", content_type)
    supported = ["application/json", *LINES, *RAW, "application/x-npy", "multipart/form-data"]
    assert refused.value.detail == {"supported": supported}


def test_line_breaks_in_base64_are_ignored() -> None:
    request = parsed(img_data=base64.encodebytes(IMAGE * 10).decode())
    assert request.images == [Encoded(NOTEBOOK["img_id"], IMAGE * 10)]


@pytest.mark.parametrize(
    "text",
    ["*", "QQ", "QQ=", "Q===", "QQ==QQ==", "data:image/png;base64,QQ==", "_-8=", "é"],
)
def test_what_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="not base64") as refused:
        parsed(img_data=text)
    assert refused.value.detail == {"field": "img_data"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("img_id", None),
        ("img_id", 1.5),
        ("img_id", True),
        ("img_id", "x" * 1025),
        ("img_data", None),
        ("img_data", 5),
        ("score_threshold", -0.001),
        ("score_threshold", 1.001),
        ("score_threshold", "0.5"),
        ("score_threshold", True),
        ("mask_threshold", 0),
        ("max_detections", 0),
        ("max_detections", 1.5),
        ("masks", 1),
        ("rpn", "yes"),
        ("rle", "runs"),
        ("classes", []),
        ("classes", [True]),
        ("classes", [1.5]),
        ("classes", {"person": 1}),
        ("classes", ["x" * 257]),
        ("format", "x" * 65),
        ("scorethreshold", 0.5),
    ],
    ids=lambda value: str(value)[:20],
)
def test_the_field_that_is_wrong_is_named(field: str, value: Any) -> None:
    with pytest.raises(RequestError, match=f"^{field}: ") as refused:
        parsed(**{field: value})
    assert refused.value.detail == {"field": field}


@pytest.mark.parametrize("field", ["img_id", "img_data"])
def test_a_field_that_is_missing_is_named(field: str) -> None:
    body = json.dumps({k: v for k, v in NOTEBOOK.items() if k != field}).encode()
    with pytest.raises(RequestError, match=f"^{field}: ") as refused:
        read(body, "application/json")
    assert refused.value.detail == {"field": field}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'"a"', b"1", b"null", b"{", b"{} {}", b"\xff", b"\0"]
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError, match=r"^body: ") as refused:
        read(body, "application/json")
    assert refused.value.detail == {"field": "body"}


@pytest.mark.parametrize(
    ("attributes", "field"),
    [
        ("threshold=0.5", "threshold"),
        ("score_threshold=high", "score_threshold"),
        ("score_threshold=nan", "score_threshold"),
        ("max_detections=1.5", "max_detections"),
        ("img_data=QQ==", "img_data"),
        ("Score-Threshold=0.5", "Score-Threshold"),
        ("treshold=0.5", "treshold"),
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "image/png"])
def test_a_bad_custom_attribute_is_named(content_type: str, attributes: str, field: str) -> None:
    with pytest.raises(RequestError, match=r"^custom attribute ") as refused:
        read(json.dumps(NOTEBOOK).encode(), content_type, attributes)
    assert refused.value.detail == {"field": field}


@pytest.mark.parametrize(
    "attributes",
    [
        "c000b4f9-df62-4c85-a0bf-7c525f9104a4",
        "trace-id=123;rps=9",
        "tfs-model-name=default;tfs-method=predict",
        "=;junk;a=b=c",
        "any text; really",
    ],
)
def test_custom_attributes_that_are_none_of_ours_are_passed_over(attributes: str) -> None:
    assert read(IMAGE, "image/png", attributes) == read(IMAGE, "image/png")
    given = read(IMAGE, "image/png", f"{attributes};score_threshold=0.5").options
    assert given.score_threshold == 0.5


def test_json_fields_that_are_none_of_ours_are_passed_over() -> None:
    """The old containers read `img_id`, `img_data`, `rpn` and thresholds, and nothing else."""
    assert parsed(trace={"id": [1]}, **{"": 1, "x" * 10_000: 2}, rpn=None) == parsed()


@pytest.mark.parametrize("count", [MAX_FIELDS - 2, MAX_FIELDS - 1])
def test_the_number_of_fields_is_limited(count: int) -> None:
    fields = {f"k{i}": i for i in range(count)}
    if count == MAX_FIELDS - 2:
        assert parsed(**fields) == parsed()
    else:
        with pytest.raises(RequestError, match="more than 64 fields"):
            parsed(**fields)


def hostile(count: int) -> dict[str, bytes]:
    return {
        "keys": ("{" + ",".join(f'"{i:x}":1' for i in range(count)) + "}").encode(),
        "numbers": b'{"classes":[' + b"1," * count + b"1]}",
        "lists": b'{"a":[' + b"[]," * count + b"1]}",
        "nested": b"[" * count,
        "instances": b'{"instances":[' + b"{}," * count + b"{}]}",
        "texts": b'{"classes":[' + b'"",' * count + b'""]}',
        "commas in a text": b'{"img_id":"' + b"," * count + b'"}',
    }


@pytest.mark.parametrize("kind", hostile(0))
@pytest.mark.parametrize("content_type", ["application/json", "application/jsonlines"])
def test_a_body_of_a_million_values_is_refused_at_once(kind: str, content_type: str) -> None:
    body = hostile(1_600_000)[kind]
    start = time.perf_counter()
    with pytest.raises(RequestError, match=f"more than {MAX_JSON_VALUES} JSON values"):
        read(body, content_type)
    assert time.perf_counter() - start < 0.1


def test_a_parser_alone_would_take_much_longer() -> None:
    """What the time limit of the test above notices."""
    body = hostile(1_600_000)["keys"]
    start = time.perf_counter()
    json.loads(body)
    assert time.perf_counter() - start > 0.1


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"1" * (16 << 20), "application/json"),
        (b'"' + b"\\u0041" * (2 << 20) + b'"', "application/json"),
        (b" " * (16 << 20), "application/json"),
        (b"\n" * (16 << 20), "application/jsonlines"),
        (b"\r\n--" * (4 << 20), "multipart/form-data; boundary=b"),
        (b"--b\r\n" + b"a:b\r\n" * (3 << 20), "multipart/form-data; boundary=b"),
        (b"--b\r\na:" + b";a=b" * (3 << 20), "multipart/form-data; boundary=b"),
    ],
    ids=["digits", "escapes", "spaces", "lines", "boundaries", "headers", "parameters"],
)
def test_large_bodies_of_other_kinds_are_refused_in_linear_time(
    body: bytes, content_type: str
) -> None:
    start = time.perf_counter()
    with pytest.raises(RequestError):
        read(body, content_type)
    assert time.perf_counter() - start < 0.5


def test_lines_of_json_are_images_of_their_own() -> None:
    line = json.dumps(NOTEBOOK).encode()
    request = read(line + b"\n\n{\n" + line, "application/jsonlines", "score_threshold=0.5")
    first, wrong, last = request.images
    assert first == last == Encoded(NOTEBOOK["img_id"], IMAGE)
    assert isinstance(wrong, RequestError)
    assert request.layout == "lines"
    assert request.options.score_threshold == 0.5


def test_there_are_not_more_lines_than_images_of_one_request() -> None:
    line = json.dumps(NOTEBOOK).encode() + b"\n"
    assert len(read(line * MAX_IMAGES, "application/jsonlines").images) == MAX_IMAGES
    with pytest.raises(RequestError, match="lines of JSON"):
        read(line * (MAX_IMAGES + 1), "application/jsonlines")


def test_refusals_do_not_repeat_values() -> None:
    with pytest.raises(RequestError) as refused:
        parsed(score_threshold="private")
    assert "private" not in refused.value.message


def test_a_misspelt_field_is_told_the_nearest() -> None:
    body = b'{"img_id": "a", "img_data": "", "score_treshold": 0.5}'
    with pytest.raises(RequestError, match="no such field here; the nearest is score_threshold"):
        read(body, "application/json")


def several(*instances: Any, **fields: Any) -> InferenceRequest:
    body = json.dumps({"instances": instances, **fields}).encode()
    return read(body, "application/json")


def test_several_images_come_in_one_request() -> None:
    request = several(NOTEBOOK, {**NOTEBOOK, "img_id": 2}, score_threshold=0.9)
    assert request.layout == "list"
    assert request.images == [Encoded(NOTEBOOK["img_id"], IMAGE), Encoded(2, IMAGE)]
    assert request.options.score_threshold == 0.9


def test_one_of_several_is_a_list_as_well() -> None:
    assert several(NOTEBOOK).layout == "list"


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"img_id": "a"}, "img_data"),
        ({**NOTEBOOK, "img_data": "*"}, "img_data"),
        ({**NOTEBOOK, "score_threshold": 0.5}, "score_threshold"),
        (None, "body"),
        ("a", "body"),
        ([], "body"),
    ],
    ids=["half", "no base64", "an option", "null", "text", "list"],
)
def test_what_is_wrong_with_one_of_several_stands_in_its_place(bad: Any, field: str) -> None:
    first, wrong, last = several(NOTEBOOK, bad, NOTEBOOK).images
    assert first == last == Encoded(NOTEBOOK["img_id"], IMAGE)
    assert isinstance(wrong, RequestError)
    assert wrong.detail == {"field": field}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"instances": []}, "instances"),
        ({"instances": None}, "instances"),
        ({"instances": NOTEBOOK}, "instances"),
        ({"instances": [NOTEBOOK] * (MAX_IMAGES + 1)}, "instances"),
        ({"instances": [NOTEBOOK], "img_data": ""}, "img_data"),
        ({"instances": [NOTEBOOK], "img_id": "a"}, "img_id"),
        ({"instances": [NOTEBOOK], "score_threshold": 2}, "score_threshold"),
    ],
    ids=["none", "null", "no list", "too many", "an image beside", "a name beside", "an option"],
)
def test_what_is_wrong_with_the_whole_request_is_refused(
    fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(RequestError, match=f"^{field}: ") as refused:
        read(json.dumps(fields).encode(), "application/json")
    assert refused.value.detail == {"field": field}


def form(*parts: tuple[str, bytes], boundary: str = "b") -> bytes:
    """A form of parts: what follows `form-data;` in their header, and their contents."""
    written = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {header}\r\n\r\n".encode()
        + contents
        + b"\r\n"
        for header, contents in parts
    )
    return written + f"--{boundary}--\r\n".encode()


FILE = ('name="image"; filename="a.png"', IMAGE)


def test_a_form_has_an_image_and_options() -> None:
    body = form(FILE, ('name="score_threshold"', b"0.25"), ('name="classes"', b"cat,dog"))
    request = read(body, FORM, "score_threshold=0.9;max_detections=2")
    assert request.images == [Encoded("a.png", IMAGE)]
    assert request.options.score_threshold == 0.25
    assert request.options.max_detections == 2
    assert request.options.classes == ["cat", "dog"]


def test_a_form_may_name_its_image() -> None:
    request = read(form(FILE, ('name="img_id"', b"7")), FORM)
    assert request.images == [Encoded("7", IMAGE)]
    request = read(form(FILE), 'multipart/form-data; boundary="b"', "img_id=8")
    assert request.images == [Encoded("8", IMAGE)]


@pytest.mark.parametrize(
    ("body", "content_type", "why"),
    [
        (form(), FORM, "one file, not 0"),
        (form(FILE, FILE), FORM, "one file, not 2"),
        (b"", FORM, "it is empty"),
        (form(FILE)[:-40], FORM, "one file, not 0"),
        (form(FILE), "multipart/form-data", "boundary"),
        (form(FILE), "multipart/form-data; boundary=", "boundary"),
        (form(FILE), "multipart/form-data; boundary=other", "not a form"),
        (b"no form at all", FORM, "not a form"),
        (form(FILE, ('name="rpn"', b"1"), ('name="rpn"', b"1")), FORM, "has this field twice"),
        (form(FILE, *((f'name="{i}"', b"") for i in range(100))), FORM, "more than 64 parts"),
        (form(FILE, ('name="threshold"', b"1")), FORM, "no such field"),
        (form(FILE, ('name="score_threshold"', b"high")), FORM, "score_threshold"),
        (form(FILE, ('name="score_threshold"', b"\xff")), FORM, "score_threshold"),
    ],
    ids=lambda value: value[-20:] if isinstance(value, str) else "",
)
def test_a_form_that_is_none_is_refused(body: bytes, content_type: str, why: str) -> None:
    with pytest.raises(RequestError, match=why):
        read(body, content_type)


def test_the_name_of_a_file_is_no_longer_than_any() -> None:
    body = form((f'name="image"; filename="{"x" * 3000}"', IMAGE))
    (image,) = read(body, FORM).images
    assert isinstance(image, Encoded)
    assert len(str(image.image_id)) == 1024


def test_a_large_file_of_a_form_stays_in_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    large = bytes(3 << 20)
    request = read(form(('name="image"; filename="a.png"', large)), FORM)
    assert request.images == [Encoded("a.png", large)]
