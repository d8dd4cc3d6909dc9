"""Prints what several commands show."""

import shutil
import sys
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from maskrcnn_handlers.formats.writing import instances, truncated_bbox
from maskrcnn_server.formats import Prediction


def called_as() -> str:
    """How the program was called, for a next command that can be copied."""
    program = sys.argv[0]
    if Path(program).suffix == ".py":
        return "python -m maskrcnn_handlers"
    found = shutil.which(Path(program).name)
    return Path(program).name if found and Path(found).samefile(program) else program


def table(prediction: Prediction) -> Table:
    """The instances, one a line."""
    shown = Table()
    for column in ("category", "score", "bbox (x, y, width, height)", "mask pixels"):
        shown.add_column(column, justify="left" if column == "category" else "right")
    for box, category, score, mask in instances(prediction):
        area = "none" if mask is None else str(mask.area)
        shown.add_row(escape(category.name), f"{score:.3f}", str(truncated_bbox(box)), area)
    return shown
