"""Label maps: the names of a data set's categories. Source: `string_int_label_map.proto`."""

import re
from pathlib import Path

from maskrcnn_network.checkpoints.text_format import fields
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.remembering import read_once

MAX_CLASSES = 10_000
"""Largest id of a category."""


def read_labels(path: Path) -> dict[int, str] | None:
    """The names of categories by id, of a label map; of several with one id the first, as in
    `label_map_util`. None if the file is none. Raises InvalidModel for an invalid one."""
    labels: dict[int, str] = {}
    for name, item in read_once(fields, path):
        if name != "item" or isinstance(item, str):
            return None
        values = {n: v for n, v in reversed(item) if isinstance(v, str)}
        number = values.get("id", "0")
        if not re.fullmatch(r"\d{1,9}", number) or int(number) > MAX_CLASSES:
            raise InvalidModel(f"{path}: id {number[:20]}, but ids are from 1 to {MAX_CLASSES}")
        given = values.get("display_name") or values.get("name") or f"class_{number}"
        labels.setdefault(int(number), given)
    return {i: name for i, name in labels.items() if i > 0} or None
