"""The client's keywords against the server's options."""

import typing

import pytest

from maskrcnn_client import InvalidOption
from maskrcnn_client.options import Options, attributes
from maskrcnn_handlers.request.envelope import Envelope
from maskrcnn_handlers.request.requests import parse
from maskrcnn_server.options import Options as ServerOptions

FORMAT = {"format", "rle", "rpn"}
"""Options that choose what a reply looks like, and are the client's business."""

GIVEN: Options = {
    "score_threshold": 0.25,
    "mask_threshold": 0.75,
    "max_detections": 3,
    "masks": False,
    "classes": ["a cat", 2],
    "tile": "640x512",
    "overlap": 0.5,
    "overview": True,
    "model": "shapes",
}


def test_keywords_are_the_servers_options() -> None:
    keywords = Options.__annotations__.keys() - {"model"}
    assert keywords == ServerOptions.model_fields.keys() - FORMAT
    for name, kind in typing.get_type_hints(Options).items():
        if name in keywords:
            may_be_none = type(None) in typing.get_args(kind)
            assert may_be_none == (ServerOptions.model_fields[name].default is None), name


def test_each_keyword_reaches_the_server() -> None:
    assert GIVEN.keys() == Options.__annotations__.keys()
    envelope = Envelope.of(b"", "application/x-image", "", attributes(GIVEN))
    assert envelope.model == "shapes"
    options = parse(envelope).options
    assert options.format == "coco"
    assert options.classes == ["a cat", "2"]
    assert (options.score_threshold, options.mask_threshold) == (0.25, 0.75)
    assert (options.max_detections, options.masks) == (3, False)
    assert (options.tile, options.overlap, options.overview) == ("640x512", 0.5, True)


def test_none_is_the_servers_default() -> None:
    assert attributes({"score_threshold": None, "masks": True}) == "format=coco;masks=true"


@pytest.mark.parametrize(
    "options", [{"scores": 1}, {"format": "sagemaker"}, {"classes": ["a,b"]}, {"model": "é"}]
)
def test_what_the_server_would_not_understand_is_refused(options: typing.Any) -> None:
    with pytest.raises(InvalidOption):
        attributes(options)
