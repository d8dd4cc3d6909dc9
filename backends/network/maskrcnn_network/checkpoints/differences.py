"""Differences between a checkpoint and an architecture."""

from maskrcnn_network.architecture import Architecture, in_network
from maskrcnn_network.shapes import Shapes


def differences(shapes: Shapes, architecture: Architecture) -> list[str]:
    """Missing, misshapen and surplus variables of `shapes`, in words."""
    expected = architecture.variables()
    missing = [name for name in expected if name not in shapes]
    misshapen = [
        f"{name} is {shapes[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in shapes and shapes[name] != shape
    ]
    surplus = [name for name in shapes if in_network(name) and name not in expected]
    found = []
    if missing:
        found.append(f"{_number(missing)} missing: {_some(missing)}")
    if misshapen:
        found.append(f"{_number(misshapen)} with the wrong shape: {_some(misshapen)}")
    if surplus:
        found.append(f"{_number(surplus)} unexpected: {_some(surplus)}")
    return found


def _number(names: list[str]) -> str:
    return "1 variable" if len(names) == 1 else f"{len(names)} variables"


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
