"""Classes that a request asks for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from maskrcnn_server.errors import RequestError

if TYPE_CHECKING:
    from maskrcnn_server.categories import Category


def ids(wanted: Sequence[str | int], categories: Sequence[Category]) -> frozenset[int]:
    """Class indices of the network, for classes given by name or by index (a number, or text).

    Raises RequestError for an unknown class, with the nearest names.
    """
    by_name: dict[str, set[int]] = {}
    for category in categories:
        by_name.setdefault(category.name, set()).add(category.id)
    known = {category.id for category in categories}
    chosen: set[int] = set()
    for one in wanted:
        number = int(one) if isinstance(one, int) or (one.isascii() and one.isdigit()) else None
        if isinstance(one, str) and one in by_name:
            chosen |= by_name[one]
        elif number in known:
            chosen.add(number)
        else:
            raise _unknown(one, list(by_name), known)
    return frozenset(chosen)


def _unknown(one: str | int, names: list[str], known: set[int]) -> RequestError:
    asked = str(one)[:80]
    nearest = difflib.get_close_matches(asked, names, n=3, cutoff=0.5)
    hint = f"the nearest are {', '.join(nearest)}" if nearest else f"such as {names[0]}"
    return RequestError(
        f"classes: the model has no class {asked!r}; {hint}; "
        f"or a class index, {min(known)} to {max(known)}",
        field="classes",
        nearest=nearest,
    )
