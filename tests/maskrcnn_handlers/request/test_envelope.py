import pytest

from maskrcnn_handlers.request.envelope import Envelope


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("", {}),
        (" ; ;", {}),
        ("a=1; b = two words ;c=x=y", {"a": "1", "b": "two words", "c": "x=y"}),
        ("junk", {"junk": ""}),
        ("a=1;a=2", {"a": "2"}),
    ],
)
def test_attributes_are_pairs(attributes: str, expected: dict[str, str]) -> None:
    assert Envelope.of(b"", "image/png", "", attributes).attributes == expected


@pytest.mark.parametrize(
    ("attributes", "named", "expected"),
    [
        ("", None, None),
        ("model=", None, None),
        ("rpn=true;model=cells", None, "cells"),
        ("model=cells", "street", "street"),
    ],
    ids=["none", "empty", "attribute", "path"],
)
def test_a_path_or_header_names_the_model_before_an_attribute(
    attributes: str, named: str | None, expected: str | None
) -> None:
    envelope = Envelope.of(b"", "image/png", "", attributes, named)
    assert envelope.model == expected
    assert "model" not in envelope.attributes
