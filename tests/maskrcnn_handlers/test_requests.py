import base64
import json
from typing import Any

import pytest

from maskrcnn_handlers.requests import RAW, InferenceRequest, parse
from maskrcnn_server.backend import PredictOptions
from maskrcnn_server.errors import RequestError, UnsupportedContentType

IMAGE = b"\x89PNG any bytes \xff\x00"
NOTEBOOK: dict[str, Any] = {
    "img_id": "000000000139.jpg",
    "img_data": base64.b64encode(IMAGE).decode(),
}


def parsed(attributes: str = "", /, **fields: Any) -> InferenceRequest:
    body = json.dumps(NOTEBOOK | fields).encode()
    return parse(body, "application/json", attributes, 0.5)


def test_the_notebooks_request_asks_for_the_defaults() -> None:
    assert parsed() == InferenceRequest(
        image_id="000000000139.jpg", image=IMAGE, options=PredictOptions(), format=None
    )


def test_every_option_may_be_a_json_field() -> None:
    request = parsed(
        score_threshold=0.25,
        mask_threshold=0.75,
        max_detections=3,
        masks=False,
        rpn=True,
        format="coco",
    )
    assert request.format == "coco"
    assert request.options == PredictOptions(
        score_threshold=0.25, mask_threshold=0.75, max_detections=3, masks=False, proposals=True
    )


@pytest.mark.parametrize("content_type", RAW)
def test_an_image_may_be_the_body(content_type: str) -> None:
    request = parse(IMAGE, content_type, "", 0.5)
    assert request.image == IMAGE
    assert request.image_id == ""


def test_every_option_may_be_a_custom_attribute() -> None:
    attributes = (
        "img_id=a.jpg;score_threshold=0.25; mask_threshold = 0.75;max_detections=3;"
        "masks=false;rpn=true;format=coco;"
    )
    request = parse(IMAGE, "image/jpeg", attributes, 0.5)
    assert request == InferenceRequest(
        image_id="a.jpg",
        image=IMAGE,
        format="coco",
        options=PredictOptions(
            score_threshold=0.25, mask_threshold=0.75, max_detections=3, masks=False, proposals=True
        ),
    )


def test_json_fields_win_over_custom_attributes() -> None:
    request = parsed("score_threshold=0.9;max_detections=7;img_id=b", score_threshold=0.1)
    assert request.options.score_threshold == 0.1
    assert request.options.max_detections == 7
    assert request.image_id == NOTEBOOK["img_id"]


def test_a_field_that_is_null_counts_as_not_named() -> None:
    assert parsed(score_threshold=None, format=None) == parsed()


def test_the_servers_mask_threshold_is_used_unless_the_request_names_one() -> None:
    assert parse(IMAGE, "image/png", "", 0.3).options.mask_threshold == 0.3
    assert parse(IMAGE, "image/png", "mask_threshold=0.7", 0.3).options.mask_threshold == 0.7


@pytest.mark.parametrize("value", ["", "../../etc/passwd", "a\0b\n", "ünï", "x" * 1024, 0, -5, 139])
def test_an_image_id_is_returned_as_it_came(value: str | int) -> None:
    image_id = parsed(img_id=value).image_id
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
    assert parse(json.dumps(NOTEBOOK).encode(), content_type, "", 0.5).image == IMAGE


@pytest.mark.parametrize("content_type", ["", "text/plain", "image/gif", "json", ";", "*/*"])
def test_other_content_types_are_refused_with_the_choices(content_type: str) -> None:
    with pytest.raises(UnsupportedContentType) as refused:
        parse(IMAGE, content_type, "", 0.5)
    assert refused.value.detail == {"supported": ["application/json", *RAW]}


def test_line_breaks_in_base64_are_ignored() -> None:
    assert parsed(img_data=base64.encodebytes(IMAGE * 10).decode()).image == IMAGE * 10


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
        parse(body, "application/json", "", 0.5)
    assert refused.value.detail == {"field": field}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'"a"', b"1", b"null", b"{", b"{} {}", b"\xff", b"\0"]
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError, match=r"^body: ") as refused:
        parse(body, "application/json", "", 0.5)
    assert refused.value.detail == {"field": "body"}


@pytest.mark.parametrize(
    ("attributes", "field"),
    [
        ("junk", "junk"),
        ("=", ""),
        ("threshold=0.5", "threshold"),
        ("score_threshold=high", "score_threshold"),
        ("score_threshold=nan", "score_threshold"),
        ("max_detections=1.5", "max_detections"),
        ("img_data=QQ==", "img_data"),
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "image/png"])
def test_a_bad_custom_attribute_is_named(content_type: str, attributes: str, field: str) -> None:
    with pytest.raises(RequestError, match=r"^custom attribute ") as refused:
        parse(json.dumps(NOTEBOOK).encode(), content_type, attributes, 0.5)
    assert refused.value.detail == {"field": field}


def test_refusals_do_not_repeat_values() -> None:
    with pytest.raises(RequestError) as refused:
        parsed(score_threshold="private")
    assert "private" not in refused.value.message


def test_a_misspelt_field_is_told_the_nearest() -> None:
    body = b'{"img_id": "a", "img_data": "", "score_treshold": 0.5}'
    with pytest.raises(RequestError, match="no such field; the nearest is score_threshold"):
        parse(body, "application/json", "", 0.5)
