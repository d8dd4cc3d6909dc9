"""The function for `cvat-cli task auto-annotate`, called and checked by cvat-sdk."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from maskrcnn_client import cvat
from maskrcnn_client.errors import InvalidReply

if TYPE_CHECKING:
    from protocol_fixtures import Contract, Served

Create: TypeAlias = Callable[..., cvat.Function]

annotation = pytest.importorskip("cvat_sdk.auto_annotation")
driver = pytest.importorskip("cvat_sdk.auto_annotation.driver")
masks = pytest.importorskip("cvat_sdk.masks")
models = pytest.importorskip("cvat_sdk.models")


@pytest.fixture
def create(served: Served) -> Iterator[Create]:
    """Makes functions that ask the server, and closes them."""
    with ExitStack() as stack:

        def made(**options: Any) -> cvat.Function:
            return stack.enter_context(closing(cvat.create(served.url, **options)))

        yield made


def context(*, threshold: float | None = None, polygons: bool = False) -> Any:
    """What the driver hands to a function."""
    return driver._DetectionFunctionContextImpl(
        frame_name="a.png", conf_threshold=threshold, conv_mask_to_poly=polygons
    )


def image(picture: bytes) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(picture)).convert("RGB")


def test_the_spec_has_the_servers_classes(create: Create) -> None:
    spec = create().spec
    assert isinstance(spec, annotation.DetectionFunctionSpec)
    assert [(one.name, one.id) for one in spec.labels] == [("red", 0), ("green", 1), ("blue", 2)]


def test_masks_are_those_of_the_notebook(
    create: Create, picture: bytes, notebook: Contract
) -> None:
    found = create().detect(context(), image(picture))
    assert [(one.label_id, str(one.type)) for one in found] == [(i, "mask") for i in range(3)]
    for one, mask in zip(found, notebook.masks, strict=True):
        decoded = masks.decode_mask(one.points, image_width=80, image_height=60)
        assert np.array_equal(decoded, mask)


def test_polygons_are_near_the_masks(create: Create, picture: bytes, notebook: Contract) -> None:
    found = create().detect(context(polygons=True), image(picture))
    assert [str(one.type) for one in found] == ["polygon"] * 3
    for one, mask in zip(found, notebook.masks, strict=True):
        drawn = PIL.Image.new("1", (80, 60))
        PIL.ImageDraw.Draw(drawn).polygon([p - 0.5 for p in one.points], fill=1)
        pixels = np.asarray(drawn)
        assert (pixels & mask).sum() / (pixels | mask).sum() >= 0.99


def test_rectangles_and_thresholds_may_be_asked_for(
    create: Create, picture: bytes, notebook: Contract
) -> None:
    function = create(classes="green,blue", masks=False)
    (found,) = function.detect(context(threshold=0.85), image(picture))
    assert (str(found.type), found.label_id) == ("rectangle", 0)
    assert np.array_equal(found.points, notebook.boxes[1])


def test_cvats_driver_takes_what_is_found(create: Create, picture: bytes) -> None:
    """The driver's own check of a function's shapes against the labels of a task."""
    function = create()
    labels = [
        models.Label(name=name, id=number, type="any", attributes=[], sublabels=[])
        for number, name in ((7, "blue"), (8, "red"), (9, "green"))
    ]
    mapper = driver._AnnotationMapper(
        logging.getLogger(),
        function.spec.labels,
        labels,
        allow_unmatched_labels=False,
        conv_mask_to_poly=False,
    )
    found = function.detect(context(), image(picture))
    _, shapes = mapper.validate_and_remap(found, 3)
    assert [(one.label_id, one.frame) for one in shapes] == [(8, 3), (9, 3), (7, 3)]


def test_a_server_that_tells_no_classes_is_named(url: str) -> None:
    with pytest.raises(InvalidReply, match="classes=str:person,car"):
        cvat.create(url)
