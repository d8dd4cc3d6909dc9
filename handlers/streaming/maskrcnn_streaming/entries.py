"""The entries of a streamed reply, and how they are written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from maskrcnn_handlers.answer.reply import described
from maskrcnn_handlers.answer.status import status_of

if TYPE_CHECKING:
    from maskrcnn_server.errors import MaskRCNNError
    from maskrcnn_server.rle import Size
    from maskrcnn_tiles.answering import Tiled

Kind: TypeAlias = Literal["prediction", "tile", "error", "end"]
ALIVE = b": \n\n"
"""Comment of an event stream: the connection is alive."""


@dataclass(frozen=True)
class Entry:
    """One entry: a JSON object."""

    kind: Kind
    content: bytes
    error: MaskRCNNError | None = None

    def line(self) -> bytes:
        """A line of JSON."""
        return self.content + b"\n"

    def event(self) -> bytes:
        """An event (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
        return b"event: %s\ndata: %s\n\n" % (self.kind.encode(), self.content)


def prediction(index: int, size: Size, body: bytes) -> Entry:
    """What image `index` of the request, of this size, would get alone, in JSON."""
    head = b'{"index":%d,"size":[%d,%d]' % (index, *size)
    return Entry("prediction", b'%s,"prediction":%s}' % (head, _one_line(body)))


def tile(index: int, tiled: Tiled, body: bytes) -> Entry:
    """A tile that is done, with the instances that no other tile can change any more."""
    step = tiled.step
    place = {"x": step.tile.x, "y": step.tile.y}
    place |= {"width": step.tile.width, "height": step.tile.height}
    size = tiled.prediction.detections.size
    head = {"index": index, "size": size, "tile": place, "done": step.done, "of": step.total}
    content = json.dumps(head, separators=(",", ":")).encode()
    return Entry("tile", b'%s,"prediction":%s}' % (content[:-1], _one_line(body)))


def failure(index: int, error: MaskRCNNError) -> Entry:
    """The error of image `index`."""
    return _failed({"index": index}, error)


def broken(error: MaskRCNNError) -> Entry:
    """The error of the whole request, after which nothing comes."""
    return _failed({}, error)


def end(images: int, failed: int, request_id: str) -> Entry:
    """The last entry: without it, the reply is not complete."""
    content = {"end": True, "images": images, "failed": failed, "request_id": request_id}
    return Entry("end", json.dumps(content).encode())


def _failed(place: dict[str, object], error: MaskRCNNError) -> Entry:
    content = {**place, "error": described(error), "status": status_of(error)}
    return Entry("error", json.dumps(content).encode(), error)


def _one_line(body: bytes) -> bytes:
    """JSON without the breaks of lines between its parts; those in its texts are escaped."""
    return body.replace(b"\r", b"").replace(b"\n", b" ").strip()
