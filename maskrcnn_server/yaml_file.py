"""YAML from strangers: of bounded size, also with its aliases written out; each key once."""

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from maskrcnn_server.work import Meter, TooMuchWork, meter

TOKEN_STEPS = 30
"""Steps of work that a token takes, until it is a value."""
MAX_DEPTH = 64
"""Maximum number of lists and mappings in one another."""
MAX_NUMBER = 64
"""Maximum number of characters of a number."""
MAX_BYTES = 1 << 20
MAX_NODES = 100_000
"""Number of values in a document at most, each counted as often as aliases repeat it."""
MERGE = "tag:yaml.org,2002:merge"


class NotYaml(ValueError):
    """A text that is not YAML, or not such as is read here."""


def read(path: Path, loader: "type[Loader] | None" = None) -> Any:
    """The content of a YAML file: plain values, lists and dictionaries; None if it is empty.

    `loader`: what reads tags, if any are known. Raises NotYaml, and OSError if it cannot be read.
    """
    with path.open("rb") as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise NotYaml(f"larger than {MAX_BYTES >> 20} MiB")
    return _parsed(text, meter(path), loader or Loader)


def parse(text: str | bytes) -> Any:
    """The content of a YAML document. Raises NotYaml."""
    return _parsed(text, meter(Path("YAML")), Loader)


def _parsed(text: str | bytes, meter: Meter, kind: "type[Loader]") -> Any:
    try:
        loader = kind(text, meter)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except TooMuchWork:
        raise NotYaml("it takes more work to read than a configuration does") from None
    except (yaml.YAMLError, RecursionError, ValueError, ArithmeticError) as error:
        said = " ".join(str(error).split()).replace('in "<byte string>", ', "at ")
        hint = "; save it as UTF-8" if isinstance(error, yaml.reader.ReaderError) else ""
        raise NotYaml(said[:500] + hint) from None


class Loader(yaml.SafeLoader):
    """Refuses keys that come twice, and aliases by which a few lines stand for a billion."""

    possible_simple_keys: dict[int, Any]

    def __init__(self, text: str | bytes, meter: Meter) -> None:
        # Every character is looked at.
        meter.spend(len(text) // 2)
        self._meter = meter
        self._depth = 0
        super().__init__(text)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a value, not too deep in others."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.YAMLError(f"more than {MAX_DEPTH} lists and mappings in one another")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def fetch_more_tokens(self) -> None:
        """Count a token, and the beginnings of keys that it may end."""
        self._meter.spend(TOKEN_STEPS + len(self.possible_simple_keys) // 8)
        super().fetch_more_tokens()

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        """A number, unless it is so long that reading it takes long."""
        if len(node.value) > MAX_NUMBER:
            problem = f"a number of more than {MAX_NUMBER} characters"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        is_whole = node.tag == "tag:yaml.org,2002:int"
        return self.construct_yaml_int(node) if is_whole else self.construct_yaml_float(node)

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _count(node, {})
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key is a list or a mapping", problem_mark=key.start_mark
                )
        keys = Counter(str(key.value) for key, _ in node.value)
        twice = next((key for key, _ in node.value if keys[str(key.value)] > 1), None)
        if twice is not None:
            problem = f"the key {twice.value} comes twice"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=twice.start_mark)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge what `<<` names. The first mapping counts; PyYAML 6.0.4 takes the last."""
        pairs = [pair for pair in node.value if pair[0].tag != MERGE]
        known = {key.value for key, _ in pairs}
        for merged in [value for key, value in node.value if key.tag == MERGE]:
            for one in merged.value if isinstance(merged, yaml.SequenceNode) else [merged]:
                if not isinstance(one, yaml.MappingNode):
                    raise yaml.YAMLError(f"<< names no mapping {one.start_mark}")
                self.flatten_mapping(one)
                pairs += [pair for pair in one.value if pair[0].value not in known]
                known |= {key.value for key, _ in one.value}
        node.value = pairs


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


for _kind in ("int", "float"):
    Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", Loader.construct_number)
