"""Streamed replies: requests for them, and their entries (lines of JSON)."""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, Field, ValidationError

from maskrcnn_client.errors import ClientError, IncompleteReply, InvalidReply
from maskrcnn_client.images import Payload, Size, fitted
from maskrcnn_client.prediction import Prediction, predicted
from maskrcnn_client.replies import Reply, Request, told

JSON = "application/json"
MAX_ENTRY_BYTES = 256 << 20
"""Size of one entry at most."""
BASE64 = 3 / 4
"""Bytes of an image for each character in JSON."""
Side = Annotated[int, Field(ge=1, le=10**7)]
Place = Annotated[int, Field(ge=0, le=10**7)]


@dataclass(frozen=True, eq=False)
class Tile:
    """A tile of an image that is done."""

    box: tuple[int, int, int, int]
    """x1, y1, x2, y2 in pixels of the image."""
    done: int
    """Number of tiles that are done, this one included."""
    total: int
    """Number of tiles of the image."""
    prediction: Prediction
    """The instances, in the whole image, that no other tile can change any more."""


Piece: TypeAlias = tuple[int, Prediction | Tile | ClientError]
"""The number of an image among those that were sent, and what an entry says of it."""


def tile_of(found: Prediction | Tile | ClientError) -> Tile:
    """The tile of an entry about one. Raises the error that it has, or InvalidReply."""
    if isinstance(found, ClientError):
        raise found
    if isinstance(found, Prediction):
        raise InvalidReply("the server did not cut the image")
    return found


class _Rectangle(BaseModel):
    x: Place
    y: Place
    width: Side
    height: Side


class _Error(BaseModel):
    code: str
    message: str
    detail: dict[str, Any] = {}


class _Entry(BaseModel):
    """A line of a streamed reply."""

    index: Annotated[int, Field(ge=0)] | None = None
    size: tuple[Side, Side] | None = None
    tile: _Rectangle | None = None
    done: Annotated[int, Field(ge=1)] = 1
    of: Annotated[int, Field(ge=1)] = 1
    prediction: list[Any] | None = None
    error: _Error | None = None
    status: Annotated[int, Field(ge=100, le=599)] = 500
    end: bool = False


class Stream:
    """A request for a streamed reply about images, and the reply as its bytes come. No network."""

    def __init__(self, given: Sequence[Payload], options: str, limit_mb: float | None) -> None:
        self._given = given
        self._options = options
        self._sent = self._fitted(limit_mb)
        self._line = bytearray()
        self._entries = 0
        self._is_complete = False

    @property
    def request(self) -> Request:
        """What to send."""
        if len(self._sent) == 1:
            return Request(self._sent[0].body, self._sent[0].content_type, self._options)
        images = [
            {"img_id": number, "img_data": base64.b64encode(one.body).decode()}
            for number, one in enumerate(self._sent)
        ]
        return Request(json.dumps({"instances": images}).encode(), JSON, self._options)

    def begins(self, reply: Reply) -> bool:
        """Whether a streamed reply follows. If not, send `request` again: it is smaller now.

        Raises what the reply says.
        """
        if reply.is_streamed:
            return True
        if reply.limit_mb is not None:
            before = [len(one.body) for one in self._sent]
            self._sent = self._fitted(reply.limit_mb)
            if [len(one.body) for one in self._sent] != before:
                return False
        if reply.status == 200:
            raise InvalidReply(
                "the server sends no streamed replies: maskrcnn-streaming is not installed there",
                status=200,
            )
        raise reply.error()

    def read(self, chunk: bytes) -> Iterator[Piece]:
        """What the next bytes of the reply complete. Raises the error of the whole request."""
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._line += line
            entry, self._line = bytes(self._line), bytearray()
            yield from self._read(entry)
        self._line += rest
        if len(self._line) > MAX_ENTRY_BYTES:
            raise InvalidReply(f"an entry of more than {MAX_ENTRY_BYTES >> 20} MiB")

    def finish(self) -> None:
        """Raise IncompleteReply unless the reply was complete."""
        if not self._is_complete:
            raise self.cut("it has no end")

    def cut(self, reason: str) -> IncompleteReply:
        """The error of a reply that is not complete."""
        return IncompleteReply(f"the reply ended after {self._entries} entries: {reason}")

    def _read(self, line: bytes) -> Iterator[Piece]:
        try:
            entry = _Entry.model_validate_json(line)
        except ValidationError as wrong:
            shown = wrong.errors(include_url=False, include_input=False)[0]["msg"]
            raise InvalidReply(
                f"entry {self._entries} is not one of this server: {shown}"
            ) from None
        self._entries += 1
        if entry.error is not None:
            error = told({"error": entry.error.model_dump()}, entry.status)
            if entry.index is None:
                raise error
            yield entry.index, error
        elif entry.prediction is not None:
            yield self._predicted(entry, entry.prediction)
        self._is_complete = self._is_complete or entry.end

    def _predicted(self, entry: _Entry, found: list[Any]) -> Piece:
        if entry.index is None or entry.index >= len(self._sent):
            raise InvalidReply(f"a prediction of image {entry.index} of {len(self._sent)}")
        given, sent = self._given[entry.index], self._sent[entry.index]
        prediction = predicted(found, entry.size, given, sent)
        if entry.tile is None:
            return entry.index, prediction
        box = _box(entry.tile, entry.size or prediction.size, prediction.size)
        return entry.index, Tile(box, entry.done, entry.of, prediction)

    def _fitted(self, limit_mb: float | None) -> Sequence[Payload]:
        """Payloads that fit into one request together."""
        if limit_mb is None or len(self._given) == 1:
            return [fitted(one, limit_mb) for one in self._given]
        share = limit_mb * BASE64 * 0.99 / len(self._given)
        is_small = sum(len(one.body) for one in self._given) <= share * 2**20 * len(self._given)
        return self._given if is_small else [fitted(one, share) for one in self._given]


def _box(tile: _Rectangle, sent: Size, size: Size) -> tuple[int, int, int, int]:
    """A tile's box in an image of `size`, of which one of the size `sent` was sent."""
    down, across = size[0] / sent[0], size[1] / sent[1]
    left, top = round(tile.x * across), round(tile.y * down)
    right, bottom = (tile.x + tile.width) * across, (tile.y + tile.height) * down
    return left, top, min(round(right), size[1]), min(round(bottom), size[0])
