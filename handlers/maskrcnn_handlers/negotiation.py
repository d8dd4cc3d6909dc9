"""Which response format a client gets."""

from collections.abc import Mapping
from email.message import Message
from typing import NamedTuple

from maskrcnn_server.errors import NotAcceptable
from maskrcnn_server.formats import Format


def choose(formats: Mapping[str, Format], asked: str | None, accept: str, default: str) -> Format:
    """The format called `asked`, or the one that an `Accept` header prefers, or `default`.

    A range such as `application/json; format=coco` names a format; one without a name matches
    formats by their media type, the default first (RFC 9110, section 12.5.1).

    Raises NotAcceptable, with the choices.
    """
    if asked is not None:
        if asked not in formats:
            raise NotAcceptable(f"no format {asked!r}", formats=list(formats))
        return formats[asked]
    ordered = [formats[default], *(f for name, f in formats.items() if name != default)]
    ranges = sorted(
        (_range(part) for part in accept.split(",") if part.strip()), key=lambda r: -r.q
    )
    if not ranges:
        return formats[default]
    for wanted in ranges:
        for candidate in ordered:
            if wanted.q > 0 and wanted.matches(candidate):
                return candidate
    raise NotAcceptable(
        "none of the accepted types can be written",
        formats={name: f.media_type for name, f in formats.items()},
    )


class _Range(NamedTuple):
    media_type: str
    format: str | None
    q: float

    def matches(self, candidate: Format) -> bool:
        if self.format is not None and self.format != candidate.name:
            return False
        kind, _, subtype = self.media_type.partition("/")
        own_kind, _, own_subtype = candidate.media_type.partition("/")
        return kind in ("*", own_kind) and subtype in ("*", own_subtype)


def _range(text: str) -> _Range:
    message = Message()
    message["content-type"] = text
    params = {str(k).lower(): str(v) for k, v in message.get_params(failobj=[])[1:]}
    try:
        q = float(params.get("q", "1"))
    except ValueError:
        q = 0.0
    media_type = text.partition(";")[0].strip().lower()
    return _Range("*/*" if media_type == "*" else media_type, params.get("format"), q)
