"""Whether a request wants a streamed reply, by its header `Accept`."""

from __future__ import annotations

from typing import NamedTuple

from maskrcnn_handlers.answer.negotiation import MAX_ACCEPT

NDJSON, EVENTS = "application/x-ndjson", "text/event-stream"


class Accepted(NamedTuple):
    """A streamed reply that a client wants."""

    media_type: str
    """`NDJSON` or `EVENTS`."""
    accept: str
    """`Accept` for each entry: it names the format, if the client did; else empty."""


def streamed(accept: str) -> Accepted | None:
    """The streamed reply that a client wants most. None: it wants another kind of reply.

    A client that wants something else as much, and says it first, gets that.
    """
    if len(accept) > MAX_ACCEPT or not any(kind in accept.lower() for kind in (NDJSON, EVENTS)):
        return None
    best: tuple[float, str, str] = (0.0, "", "")
    for part in accept.split(","):
        media_type, *pairs = (piece.strip() for piece in part.split(";"))
        params = dict(pair.lower().split("=", 1) for pair in pairs if "=" in pair)
        try:
            quality = float(params.get("q", "1"))
        except ValueError:
            quality = 0.0
        if quality > best[0]:
            best = quality, media_type.lower(), params.get("format", "").strip('"')
    _, media_type, named = best
    if media_type not in (NDJSON, EVENTS):
        return None
    return Accepted(media_type, f"*/*; format={named}" if named else "")
