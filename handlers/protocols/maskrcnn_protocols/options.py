"""The options of a request, from the parameters of another protocol."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from maskrcnn_server.errors import RequestError
from maskrcnn_server.options import Options

NAMES = ("score_threshold", "mask_threshold", "max_detections", "masks", "classes")
"""Options that a parameter may set; the others are about this server's own formats."""
MAX_PARAMETERS = 64
SIMILARITY = 0.7
"""Similarity, 0 to 1, from which an unknown name is taken for a misspelt option."""


def options(parameters: Mapping[str, object]) -> Options:
    """The options among the parameters, whose other names belong to the protocol.

    Numbers and truth values may be texts, and `classes` a text with commas. Raises RequestError for
    a value that is not allowed, and for a name that is probably a misspelt option.
    """
    if len(parameters) > MAX_PARAMETERS:
        raise RequestError(f"parameters: more than {MAX_PARAMETERS}", field="parameters")
    given: dict[str, Any] = {}
    for name, value in parameters.items():
        if name in NAMES and value is not None:
            given[name] = value
        elif name not in NAMES:
            plain = name[:80].lower().replace("-", "_")
            nearest = difflib.get_close_matches(plain, NAMES, n=1, cutoff=SIMILARITY)
            if nearest:
                raise RequestError(
                    f"parameters: no {name[:80]!r}; the nearest is {nearest[0]}", field="parameters"
                )
    try:
        return Options.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0])
        raise RequestError(f"{field}: {first['msg']}", field=field) from None
