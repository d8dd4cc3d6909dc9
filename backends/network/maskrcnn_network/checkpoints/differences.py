"""What keeps a checkpoint from being of an architecture."""

from maskrcnn_network.architecture import Architecture, Shapes, is_of_network


def differences(shapes: Shapes, architecture: Architecture) -> list[str]:
    """What keeps `shapes` from being this architecture: missing, misshapen, surplus variables."""
    expected = architecture.variables()
    missing = [name for name in expected if name not in shapes]
    misshapen = [
        f"{name} is {shapes[name]}, should be {shape}"
        for name, shape in expected.items()
        if name in shapes and shapes[name] != shape
    ]
    surplus = [name for name in shapes if is_of_network(name) and name not in expected]
    found = []
    if missing:
        found.append(f"{_number(missing)} missing: {_some(missing)}")
    if misshapen:
        found.append(f"{_number(misshapen)} of another shape: {_some(misshapen)}")
    if surplus:
        found.append(f"{_number(surplus)} that such a network does not have: {_some(surplus)}")
    return found


def _number(names: list[str]) -> str:
    return "1 variable" if len(names) == 1 else f"{len(names)} variables"


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
