"""Joins lines of results in one file, whichever processes wrote them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

Lines: TypeAlias = Callable[[], Iterator[dict[str, Any]]]
"""Reads the last line of each image: `picture`, its name, `image_id`, and `results` or `error`."""


@dataclass
class Joined:
    """Contents of a file of joined results."""

    images: int = 0
    """Number of images that have results."""
    results: int = 0
    failed: int = 0
    """Number of images that have an error in place of results."""
    renamed: int = 0
    """Number of images whose names are their ids, because others have the same id."""


def join(lines: Lines, target: Path) -> Joined:
    """Write all results to a file, as a list; one line is in memory at a time.

    Images that share an id get their names as ids.
    """
    shared = _shared_ids(lines)
    joined = Joined()
    part = target.with_name(f".{target.name}.part")
    with part.open("w", encoding="utf-8") as file:
        separator = "["
        for line in lines():
            if "results" not in line:
                joined.failed += 1
                continue
            is_shared = line["image_id"] in shared
            joined.images += 1
            joined.renamed += is_shared
            for result in line["results"]:
                own = {**result, "image_id": line["picture"]} if is_shared else result
                file.write(separator + json.dumps(own, separators=(",", ":")))
                separator = ",\n"
                joined.results += 1
        file.write("[]\n" if separator == "[" else "]\n")
    part.replace(target)
    return joined


def _shared_ids(lines: Lines) -> set[int | str]:
    """Ids of more than one image, and those that are the name of such an image."""
    seen: set[int | str] = set()
    shared: set[int | str] = set()
    for line in lines():
        image_id = line["image_id"]
        (shared if image_id in seen else seen).add(image_id)
    count = -1
    while len(shared) > count:
        count = len(shared)
        names = (line["picture"] for line in lines() if line["image_id"] in shared)
        shared |= {name for name in names if name in seen}
    return shared
