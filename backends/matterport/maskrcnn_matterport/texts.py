"""Matterport's configuration in Python and in logs, both read as text: nothing is executed."""

import ast
import operator
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from maskrcnn_network.sources import Said, Texts, last_logged
from maskrcnn_server.errors import InvalidModel

MAX_SOURCE_BYTES = 1 << 20
"""Maximum bytes of a configuration in Python."""
MAX_NUMBER = 1e9
"""Maximum value of a computed number."""
_DISPLAYED = re.compile(r"^([A-Z][A-Z0-9_]*) +(\S.*?)\s*$")
_ARRAY = re.compile(r"\[[\d.\s+e-]+\]")
_ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


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
    computed = sorted(key for key, value in values.items() if value is _COMPUTED)
    note = f"{path.name}: computed, and not read: {', '.join(computed[:6])}" if computed else None
    return {key: value for key, value in values.items() if value is not _COMPUTED}, note


_COMPUTED = object()
"""Value of a key that only running the file would show."""


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
                yield target.id, _value(statement.value)  # type: ignore[attr-defined]


def _inherited(
    name: str, own: Mapping[str, dict[str, Any]], bases: Mapping[str, list[str]], depth: int = 8
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if depth and name in own:
        for base in reversed(bases[name]):
            values |= _inherited(base, own, bases, depth - 1)
        values |= own[name]
    return values


def _value(node: ast.expr) -> Any:
    """The value of a literal, or `_COMPUTED`."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        values = [_value(item) for item in node.elts]
        return _COMPUTED if _COMPUTED in values else values
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _number(operator.sub, 0, _value(node.operand))
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        sides = _value(node.left), _value(node.right)
        return _number(_ARITHMETIC[type(node.op)], *sides)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        if name in ("array", "list", "tuple") and len(node.args) == 1:
            return _value(node.args[0])
    return _COMPUTED


def _number(compute: Any, left: Any, right: Any) -> Any:
    if any(isinstance(x, bool) or not isinstance(x, int | float) for x in (left, right)):
        return _COMPUTED
    try:
        result = compute(left, right)
    except ArithmeticError:
        return _COMPUTED
    return result if abs(result) <= MAX_NUMBER else _COMPUTED


TEXTS: Texts = {
    **dict.fromkeys(("training.log", "train.log", "log.log", "log.txt"), displayed),
    "config.py": literals,
}
"""Readers of the files that may lie next to the weights. The last one that says a key counts."""
