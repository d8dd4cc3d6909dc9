"""Labelling configurations of Label Studio: where the image of a task is, and what may be drawn.

Source: https://labelstud.io/tags/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args
from xml.parsers import expat

from maskrcnn_server.errors import RequestError

Kind: TypeAlias = Literal["brushlabels", "polygonlabels", "rectanglelabels"]
KINDS: Sequence[str] = get_args(Kind)
MAX_CHARACTERS = 1 << 20
"""Number of characters of a configuration at most."""
MAX_TAGS = 20_000


@dataclass
class Control:
    """A tag that draws regions on an image."""

    name: str
    to_name: str
    kind: str
    labels: dict[str, str] = field(default_factory=dict)
    """Label by the name of a class, which is the label, or one of its `predicted_values`."""

    def label(self, name: str) -> str | None:
        """The label of a class. None: it has none here."""
        return self.labels.get(name) or self.labels.get(name.casefold())


@dataclass(frozen=True)
class Labelling:
    """The images of a configuration by name, with the fields of a task that have their addresses;
    and the controls that draw on them."""

    images: Mapping[str, str]
    controls: Sequence[Control]


def parse(text: str) -> Labelling:
    """The labelling that a configuration describes.

    Raises RequestError unless it is one, with an image and a control that draws on it. Document
    types and entities are refused: an entity can stand for gigabytes, or for a file.
    """
    if len(text) > MAX_CHARACTERS:
        raise RequestError(
            f"label_config: more than {MAX_CHARACTERS} characters", field="label_config"
        )
    reader = _Reader()
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(text.encode("utf-8", "replace"), True)
    except expat.ExpatError as error:
        raise RequestError(f"label_config: not XML ({error})", field="label_config") from None
    controls = [one for one in reader.controls if one.to_name in reader.images and one.labels]
    if not controls:
        raise RequestError(
            "label_config: no BrushLabels, PolygonLabels or RectangleLabels with labels for an "
            "Image",
            field="label_config",
        )
    return Labelling(reader.images, controls)


class _Reader:
    def __init__(self) -> None:
        self.images: dict[str, str] = {}
        self.controls: list[Control] = []
        self._open: Control | None = None
        self._tags = 0

    def start(self, tag: str, given: dict[str, str]) -> None:
        self._tags += 1
        if self._tags > MAX_TAGS:
            raise RequestError(f"label_config: more than {MAX_TAGS} tags", field="label_config")
        kind = tag.lower()
        if kind == "image" and given.get("value", "").startswith("$"):
            self.images[given.get("name", "")] = given["value"][1:]
        elif kind in KINDS:
            self._open = Control(given.get("name", ""), given.get("toName", ""), kind)
            self.controls.append(self._open)
        elif kind == "label" and self._open is not None and given.get("value"):
            label = given["value"]
            classes = given.get("predicted_values", "").split(",")
            for name in (label, *filter(None, map(str.strip, classes))):
                self._open.labels.setdefault(name, label)
                self._open.labels.setdefault(name.casefold(), label)

    def end(self, tag: str) -> None:
        if tag.lower() in KINDS:
            self._open = None


def _refuse_doctype(*_: object) -> None:
    raise RequestError("label_config: document types are not read", field="label_config")
