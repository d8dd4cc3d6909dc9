import contextlib
import time
from dataclasses import dataclass

import pytest

from maskrcnn_handlers.answer.negotiation import MAX_ACCEPT, choose
from maskrcnn_server.errors import NotAcceptable
from maskrcnn_server.formats import Format, Prediction


@dataclass(frozen=True)
class Named:
    name: str
    media_type: str

    def render(self, _: Prediction, /) -> bytes:
        return b""


FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        Named("coco", "application/json"),
        Named("sagemaker", "application/json"),
        Named("overlay", "image/png"),
    )
}


def chosen(accept: str, asked: str | None = None) -> str:
    return choose(FORMATS, asked, accept, "sagemaker").name


@pytest.mark.parametrize("accept", ["", " ", ",", "*/*", "*", "application/*", "application/json"])
def test_the_default_is_first_where_it_is_accepted(accept: str) -> None:
    assert chosen(accept) == "sagemaker"


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        ("application/json; format=coco", "coco"),
        ('application/json;format="coco"', "coco"),
        ("APPLICATION/JSON; Format=coco", "coco"),
        ("*/*; format=overlay", "overlay"),
        ("image/png", "overlay"),
        ("image/*", "overlay"),
        ("image/webp, image/png", "overlay"),
        ("text/html, */*;q=0.1", "sagemaker"),
        ("application/json;q=0.2, image/png;q=0.9", "overlay"),
        ("image/png;q=0.5, application/json", "sagemaker"),
        ("image/png;q=0, application/json;q=0.1", "sagemaker"),
        ("application/json;format=unknown, image/png", "overlay"),
        ("image/png;q=high, application/json;q=0.001", "sagemaker"),
    ],
)
def test_accept_selects(accept: str, name: str) -> None:
    assert chosen(accept) == name


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "application/json;q=0",
        "application/json;format=unknown",
        "image/png;format=coco",
        "json",
        ";;;=",
        "application/json;q=nan",
    ],
)
def test_what_cannot_be_written_is_refused_with_the_choices(accept: str) -> None:
    with pytest.raises(NotAcceptable) as refused:
        chosen(accept)
    assert refused.value.detail == {
        "formats": {
            "coco": "application/json",
            "sagemaker": "application/json",
            "overlay": "image/png",
        }
    }


def test_a_type_of_weight_zero_is_not_acceptable_by_a_wider_range() -> None:
    """RFC 9110, 12.5.1: the most specific range that matches counts; weight 0 refuses."""
    assert chosen("application/json;q=0, */*") == "overlay"


@pytest.mark.parametrize("accept", ["", "image/png", "text/html"])
def test_a_format_asked_for_by_name_wins_over_accept(accept: str) -> None:
    assert chosen(accept, asked="coco") == "coco"


def test_an_unknown_name_is_refused_with_the_names() -> None:
    with pytest.raises(NotAcceptable, match="'yolo'") as refused:
        chosen("*/*", asked="yolo")
    assert refused.value.detail == {"formats": ["coco", "sagemaker", "overlay"]}


@pytest.mark.parametrize(
    "accept", ["text/csv", "application/jsonlines", "image/*", "image/png", "text/plain", ";;"]
)
def test_media_types_count_for_nothing_in_a_request_that_does_not_negotiate(accept: str) -> None:
    assert choose(FORMATS, None, accept, "sagemaker", negotiates=False).name == "sagemaker"


def test_a_format_that_is_named_always_counts() -> None:
    accept = "text/csv, application/json; format=coco"
    assert choose(FORMATS, None, accept, "sagemaker", negotiates=False).name == "coco"
    with pytest.raises(NotAcceptable):
        choose(FORMATS, None, "*/*; format=unknown", "sagemaker", negotiates=False)


@pytest.mark.parametrize("accept", ["a/b," * 10**6, "a" * 10**6, "a;" * 10**6, ";=" * 10**6])
def test_a_long_header_is_refused_at_once(accept: str) -> None:
    start = time.perf_counter()
    with pytest.raises(NotAcceptable, match="8192 characters"):
        chosen(accept)
    assert time.perf_counter() - start < 0.1


@pytest.mark.parametrize("part", ["a/b;q=1,", ",", ";", "*/*;format=no,"])
def test_the_longest_header_costs_little(part: str) -> None:
    start = time.perf_counter()
    with contextlib.suppress(NotAcceptable):
        chosen(part * (MAX_ACCEPT // len(part)))
    assert time.perf_counter() - start < 0.1
