"""Matterport's configuration in Python and in logs, both read as text: nothing is executed."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from maskrcnn_network.literals import COMPUTED, MAX_SOURCE_BYTES, value
from maskrcnn_network.sources import Said, Texts
from maskrcnn_network.training_log import last_logged
from maskrcnn_server.errors import InvalidModel

_DISPLAYED = re.compile(r"^([A-Z][A-Z0-9_]*) +(\S.*?)\s*$")
_ARRAY = re.compile(r"\[[\d.\s+e-]+\]")


def displayed(path: Path) -> Said:
    """The values that `Config.display` printed last: lines of a key, blanks and a value."""
    text = last_logged(path, "Configurations:")
    if text is None:
        return {}, f"{path.name} holds no configuration: defaults are assumed"
    found: dict[str, Any] = {}
    for line in text.split("\n")[1:]:
        printed = _DISPLAYED.match(line)
        if printed is None:
            if found:
                break
            continue
        found[printed[1]] = _printed(printed[2])
    return found, None


def _printed(value: str) -> Any:
    """A value as Python or NumPy prints it; other text as it is."""
    if _ARRAY.fullmatch(value):
        value = ", ".join(value.replace("[", "[ ").replace(",", " ").split()).replace("[,", "[")
        value = value.replace(", ]", "]")
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def literals(path: Path) -> Said:
    """The literals of the configuration class in a Python file, with those of its bases there.

    Sums and products of numbers count as literals, and so does what `np.array` is called with.
    Raises InvalidModel if the file is not Python, or has several classes that say different things.
    """
    with path.open("rb") as file:
        source = file.read(MAX_SOURCE_BYTES)
    try:
        classes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ClassDef)]
        own = {node.name: dict(_assigned(node)) for node in classes}
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise InvalidModel(f"{path}: not Python ({error})") from None
    bases = {node.name: [b.id for b in node.bases if isinstance(b, ast.Name)] for node in classes}
    above = {base for names in bases.values() for base in names}
    last = {
        name: values
        for name in own
        if name not in above and (values := _inherited(name, own, bases))
    }
    if not last:
        return {}, f"{path.name} holds no configuration: defaults are assumed"
    name, values = last.popitem()
    if any(other != values for other in last.values()):
        raise InvalidModel(
            f"{path}: several configurations, {', '.join([*last, name])}: keep the one that the "
            "model is used with"
        )
    computed = sorted(key for key, value in values.items() if value is COMPUTED)
    note = f"{path.name}: computed, and not read: {', '.join(computed[:6])}" if computed else None
    return {key: value for key, value in values.items() if value is not COMPUTED}, note


def _assigned(node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    """The class' own attributes in upper case."""
    for statement in node.body:
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        for target in targets:
            if isinstance(target, ast.Name) and target.id.isupper():
                yield target.id, value(statement.value)  # type: ignore[attr-defined]


def _inherited(
    name: str, own: Mapping[str, dict[str, Any]], bases: Mapping[str, list[str]], depth: int = 8
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if depth and name in own:
        for base in reversed(bases[name]):
            values |= _inherited(base, own, bases, depth - 1)
        values |= own[name]
    return values


TEXTS: Texts = {
    **dict.fromkeys(("training.log", "train.log", "log.log", "log.txt"), displayed),
    "config.py": literals,
}
"""Readers of the files that may lie next to the weights. The last one that says a key counts."""
