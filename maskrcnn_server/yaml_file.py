"""YAML from strangers: of bounded size, also with its aliases written out; each key once."""

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1 << 20
MAX_NODES = 100_000
"""Number of values in a document at most, each counted as often as aliases repeat it."""


class NotYaml(ValueError):
    """A text that is not YAML, or not such as is read here."""


def read(path: Path) -> Any:
    """The content of a YAML file: plain values, lists and dictionaries; None if it is empty.

    Raises NotYaml, and OSError if it cannot be read.
    """
    with path.open("rb") as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise NotYaml(f"larger than {MAX_BYTES >> 20} MiB")
    return parse(text)


def parse(text: str | bytes) -> Any:
    """The content of a YAML document. Raises NotYaml."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (it is a SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise NotYaml(" ".join(str(error).split())[:500]) from None


class _Loader(yaml.SafeLoader):
    """Refuses keys that come twice, and aliases by which a few lines stand for a billion."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _count(node, {})
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = Counter(str(key.value) for key, _ in node.value)
        twice = next((key for key, _ in node.value if keys[str(key.value)] > 1), None)
        if twice is not None:
            problem = f"the key {twice.value} comes twice"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=twice.start_mark)
        return super().construct_mapping(node, deep)


def _count(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """The number of values in a node, aliases written out. Raises MarkedYAMLError if too large."""
    if node in known:
        return known[node]
    # What contains itself would be without end.
    known[node] = MAX_NODES
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        children = [child for pair in node.value for child in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    known[node] = 1 + sum(_count(child, known) for child in children)
    if known[node] > MAX_NODES:
        problem = f"more than {MAX_NODES} values, with what aliases repeat"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    return known[node]
