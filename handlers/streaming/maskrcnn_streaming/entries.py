"""The entries of a streamed reply, and how they are written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from maskrcnn_handlers.answer.reply import described

if TYPE_CHECKING:
    from maskrcnn_server.errors import MaskRCNNError
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


def prediction(index: int, body: bytes) -> Entry:
    """What image `index` of the request would get alone, in JSON."""
    return Entry("prediction", b'{"index":%d,"prediction":%s}' % (index, _one_line(body)))


def tile(index: int, tiled: Tiled, body: bytes) -> Entry:
    """A tile that is done, with the instances that no other tile can change any more."""
    step = tiled.step
    place = {"x": step.tile.x, "y": step.tile.y}
    place |= {"width": step.tile.width, "height": step.tile.height}
    head = {"index": index, "tile": place, "done": step.done, "of": step.total}
    content = json.dumps(head, separators=(",", ":")).encode()
    return Entry("tile", b'%s,"prediction":%s}' % (content[:-1], _one_line(body)))


def failure(index: int, error: MaskRCNNError) -> Entry:
    """The error of image `index`."""
    content = {"index": index, "error": described(error)}
    return Entry("error", json.dumps(content).encode(), error)


def broken(error: MaskRCNNError) -> Entry:
    """The error of the whole request, after which nothing comes."""
    return Entry("error", json.dumps({"error": described(error)}).encode(), error)


def end(images: int, failed: int, request_id: str) -> Entry:
    """The last entry: without it, the reply is not complete."""
    content = {"end": True, "images": images, "failed": failed, "request_id": request_id}
    return Entry("end", json.dumps(content).encode())


def _one_line(body: bytes) -> bytes:
    """JSON without the breaks of lines between its parts; those in its texts are escaped."""
    return body.replace(b"\r", b"").replace(b"\n", b" ").strip()
