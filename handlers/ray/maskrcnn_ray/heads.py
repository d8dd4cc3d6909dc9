"""What a part of a result holds, in few bytes at its start or end."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from maskrcnn_server.errors import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_IMAGES = 500
"""Number of images of a part at most."""
HEAD_BYTES = 256 * 1024
"""Number of bytes from a part's start or end that hold its head. An image takes 44 at most."""


@dataclass(frozen=True)
class Head:
    """What was asked, and whose results a part has. Names and versions are hashes of 64 bits."""

    asked: Mapping[str, Any]
    run: int
    """When the run began that wrote the part: seconds since 1970."""
    done: Sequence[tuple[int, int]]
    """Name and version of each image that has results."""
    failed: Sequence[int]
    """Name of each image that has an error."""

    def as_json(self) -> str:
        """The head as a line."""
        return json.dumps(asdict(self), separators=(",", ":"))


def head_of(run: int, asked: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> Head:
    """The head of a part with these lines."""
    done = [(key(line["picture"]), key(line["version"])) for line in lines if "results" in line]
    failed = [key(line["picture"]) for line in lines if "results" not in line]
    return Head(asked, run, done, failed)


def parsed(text: bytes, where: str) -> Head:
    """The head that a line holds. Raises InvalidSetting if it is none."""
    try:
        found = dict(json.loads(text))
        done = [(int(name), int(version)) for name, version in found["done"]]
        return Head(dict(found["asked"]), int(found["run"]), done, list(map(int, found["failed"])))
    except (ValueError, TypeError, KeyError):
        raise InvalidSetting(f"{where} is not a part of a result of this program") from None


def key(text: str) -> int:
    """Hash of 64 bits of a name or a version."""
    digest = hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")
