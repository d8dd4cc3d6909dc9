"""The client's keywords against the server's options."""

import typing

import pytest

from maskrcnn_client import InvalidOption
from maskrcnn_client.options import Options, attributes
from maskrcnn_handlers.request.requests import CustomAttributes, parse
from maskrcnn_server.settings import ModelDefaults

FORMAT = {"format", "rle", "rpn", "img_id"}
"""Options that choose what a reply looks like, and are the client's business."""

GIVEN: Options = {
    "score_threshold": 0.25,
    "mask_threshold": 0.75,
    "max_detections": 3,
    "masks": False,
    "classes": ["a cat", 2],
    "model": "shapes",
}


def test_keywords_are_the_servers_options() -> None:
    assert Options.__annotations__.keys() == CustomAttributes.model_fields.keys() - FORMAT
    for name, kind in typing.get_type_hints(Options).items():
        field = CustomAttributes.model_fields[name]
        may_be_none = type(None) in typing.get_args(kind)
        assert may_be_none == (field.default is None), name


def test_each_keyword_reaches_the_server() -> None:
    assert GIVEN.keys() == Options.__annotations__.keys()
    request = parse(b"", "application/x-image", attributes(GIVEN), ModelDefaults())
    assert request.format == "coco"
    assert request.classes == ["a cat", "2"]
    options = request.options
    assert (options.score_threshold, options.mask_threshold) == (0.25, 0.75)
    assert (options.max_detections, options.masks) == (3, False)
    assert "model=shapes" in attributes(GIVEN)


def test_none_is_the_servers_default() -> None:
    assert attributes({"score_threshold": None, "masks": True}) == "format=coco;masks=true"


@pytest.mark.parametrize(
    "options", [{"scores": 1}, {"format": "sagemaker"}, {"classes": ["a,b"]}, {"model": "é"}]
)
def test_what_the_server_would_not_understand_is_refused(options: typing.Any) -> None:
    with pytest.raises(InvalidOption):
        attributes(options)
