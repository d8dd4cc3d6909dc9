"""Shapes of variables by name, as checkpoints list them."""

import itertools
from collections.abc import Mapping
from typing import TypeAlias

Shape: TypeAlias = tuple[int, ...]
Shapes: TypeAlias = Mapping[str, Shape]


def counted(shapes: Shapes, name: str, start: int = 0) -> int:
    """Number of names in `shapes`, counted from `start`; `{}` in `name` stands for the index."""
    return next(i for i in itertools.count() if name.format(start + i) not in shapes)
