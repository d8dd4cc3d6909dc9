"""The literals in Python source, which is read as text: nothing is executed."""

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from maskrcnn_server.errors import InvalidModel

MAX_SOURCE_BYTES = 1 << 20
"""Maximum bytes of a configuration in Python."""
MAX_NUMBER = 1e9
"""Maximum value of a computed number."""
MAX_REPEATED = 100_000
"""Maximum number of values that names stand for, each counted as often as its name is used."""
COMPUTED = object()
"""Value of what only running the source would show."""
_ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
_SCALAR = re.compile(r"u?int\d{0,2}|float\d{0,2}|bool_?|str_?|longlong|double")


Names: TypeAlias = Callable[[str], Any]
"""Value of a name, or `COMPUTED`."""


def assigned(source: str, origin: str) -> dict[str, Any]:
    """The literals that a module assigns at its top level, by name; later ones may use names.

    Raises InvalidModel, which names the `origin`, if the source is not Python or too long.
    """
    if len(source) > MAX_SOURCE_BYTES:
        raise InvalidModel(f"{origin}: longer than {MAX_SOURCE_BYTES} characters")
    found: dict[str, Any] = {}
    left = MAX_REPEATED

    def known(name: str) -> Any:
        nonlocal left
        left -= _size(found.get(name))
        if left < 0:
            raise ValueError(f"it repeats more than {MAX_REPEATED} values by their names")
        return found.get(name, COMPUTED)

    try:
        for statement in ast.parse(source).body:
            if isinstance(statement, ast.Assign):
                for target in statement.targets:
                    if isinstance(target, ast.Name):
                        found[target.id] = value(statement.value, known)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise InvalidModel(f"{origin}: not Python that can be read ({error})") from None
    return found


def _size(made: Any) -> int:
    """Number of values in a value."""
    if isinstance(made, dict):
        made = list(made.values())
    return 1 + sum(map(_size, made)) if isinstance(made, list) else 1


def _unknown(_: str) -> Any:
    return COMPUTED


def value(node: ast.expr, names: Names = _unknown) -> Any:
    """The value of a literal, or `COMPUTED`.

    Sums and products of numbers count as literals, and so do calls of `dict` with keywords, what
    `list`, `tuple`, `np.array` and the types of NumPy's numbers are called with, and `names`.
    """
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        values = [value(item, names) for item in node.elts]
        return COMPUTED if any(v is COMPUTED for v in values) else values
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _number(operator.sub, 0, value(node.operand, names))
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        sides = value(node.left, names), value(node.right, names)
        return _number(_ARITHMETIC[type(node.op)], *sides)
    return _named(node, names) if isinstance(node, ast.Name | ast.Attribute) else _made(node, names)


def _named(node: ast.Name | ast.Attribute, names: Names) -> Any:
    """The value of a name, such as `inf` or `np.True_`, as NumPy prints them."""
    if isinstance(node, ast.Attribute):
        return node.attr == "True_" if node.attr in ("True_", "False_") else COMPUTED
    found = names(node.id)
    return float(node.id) if found is COMPUTED and node.id in ("inf", "nan") else found


def _made(node: ast.expr, names: Names) -> Any:
    """The value of a dictionary, or of a call that stands for a literal."""
    if isinstance(node, ast.Dict):
        return _mapping(node.keys, node.values, names)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
        return COMPUTED
    name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
    if name == "dict" and not node.args:
        keys = [ast.Constant(word.arg) if word.arg else None for word in node.keywords]
        return _mapping(keys, [word.value for word in node.keywords], names)
    if (name in ("array", "list", "tuple") or _SCALAR.fullmatch(name)) and len(node.args) == 1:
        return value(node.args[0], names)
    return COMPUTED


def _mapping(
    keys: Sequence[ast.expr | None], values: Sequence[ast.expr], names: Names
) -> dict[str, Any]:
    """A dictionary of the keys that are strings. Behind a key None is one that is merged."""
    found: dict[str, Any] = {}
    for key, node in zip(keys, values, strict=True):
        if key is None:
            merged = value(node, names)
            found |= merged if isinstance(merged, dict) else {}
        elif isinstance(key, ast.Constant) and isinstance(key.value, str):
            found[key.value] = value(node, names)
    return found


def _number(compute: Any, left: Any, right: Any) -> Any:
    if any(isinstance(x, bool) or not isinstance(x, int | float) for x in (left, right)):
        return COMPUTED
    try:
        result = compute(left, right)
    except ArithmeticError:
        return COMPUTED
    return result if abs(result) <= MAX_NUMBER else COMPUTED


def flat(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings by dotted keys."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
