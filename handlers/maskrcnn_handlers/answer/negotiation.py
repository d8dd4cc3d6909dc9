"""Choice of the response format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from maskrcnn_server.errors import NotAcceptable

if TYPE_CHECKING:
    from maskrcnn_server.formats import Format

MAX_ACCEPT = 8192
"""Number of characters of an `Accept` header at most."""


def choose(
    formats: Mapping[str, Format],
    asked: str | None,
    accept: str,
    default: str,
    *,
    negotiates: bool = True,
) -> Format:
    """The format called `asked`, or the one that an `Accept` header prefers, or `default`.

    A range such as `application/json; format=coco` names a format; one without a name is meant for
    all formats of its media type. Of the ranges that match a format the most specific one says how
    much it is wanted; the most wanted format wins, the default one among equals (RFC 9110, section
    12.5.1). Unless the request `negotiates`, ranges that name no format count for nothing.

    Raises NotAcceptable, with the choices.
    """
    if asked is not None:
        if asked not in formats:
            raise NotAcceptable(f"no format {asked!r}", formats=list(formats))
        return formats[asked]
    if accept.strip() in ("", "*/*"):
        return formats[default]
    if len(accept) > MAX_ACCEPT:
        raise NotAcceptable(f"Accept has more than {MAX_ACCEPT} characters")
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    if not negotiates:
        ranges = [one for one in ranges if one.format is not None]
    if not ranges:
        return formats[default]
    ordered = [formats[default], *(f for name, f in formats.items() if name != default)]
    best = max(ordered, key=lambda candidate: _quality(candidate, ranges))
    if _quality(best, ranges) > 0:
        return best
    raise NotAcceptable(
        "none of the accepted types can be written",
        formats={name: f.media_type for name, f in formats.items()},
    )


class _Range(NamedTuple):
    media_type: str
    format: str | None
    q: float

    def specificity(self, candidate: Format) -> int:
        """0: does not match; else the more, the narrower the range is."""
        kind = candidate.media_type.partition("/")[0]
        matching = ["*/*", f"{kind}/*", candidate.media_type]
        if self.media_type not in matching or self.format not in (None, candidate.name):
            return 0
        return 1 + matching.index(self.media_type) + 3 * (self.format is not None)


def _quality(candidate: Format, ranges: list[_Range]) -> float:
    narrowest = max(ranges, key=lambda r: r.specificity(candidate))
    return narrowest.q if narrowest.specificity(candidate) else 0.0


def _range(text: str) -> _Range:
    media_type, *pairs = (part.strip() for part in text.split(";"))
    params = {
        key.strip().lower(): value.strip().strip('"')
        for key, _, value in (pair.partition("=") for pair in pairs)
    }
    try:
        q = float(params.get("q", "1"))
    except ValueError:
        q = 0.0
    media_type = media_type.lower()
    return _Range("*/*" if media_type == "*" else media_type, params.get("format"), q)
