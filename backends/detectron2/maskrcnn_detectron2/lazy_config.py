"""Configurations as Detectron2's `LazyConfig.save` writes them, read as data.

A file says which class or function makes each part of the model (`_target_`) and with what
arguments. Nothing is called: known parts become the keys of classic configurations, and what else
may change a result is refused by its name.
Sources: detectron2/config/lazy.py, detectron2/config/instantiate.py.
"""

import ast
import re
from pathlib import Path
from typing import Any, NoReturn

import yaml

from maskrcnn_detectron2.lazy_parts import CASCADE_WEIGHTS, MODEL, RESIZE, Part, PythonName
from maskrcnn_network import dumped_yaml
from maskrcnn_network.dumped_yaml import PYTHON
from maskrcnn_server import yaml_file
from maskrcnn_server.errors import InvalidModel

SECTIONS = ("dataloader", "lr_multiplier", "model", "optimizer", "train")
"""Sections of a file, of which the model and the resizing of images are read."""
AUGMENTATIONS = ["dataloader", "test", "mapper", "augmentations"]
REFERENCE = re.compile(r"\$\{(\.*)([\w.]+)\}")
"""Pattern of a value that stands for another one, such as `${..num_classes}`."""
MAX_REFERENCES = 8
"""Maximum number of references that lead to a value."""
MAX_LITERAL = 1000
"""Maximum number of characters of a text that is decoded."""
MAX_SHOWN = 100
"""Maximum number of characters of a value in a message."""


class _Loader(dumped_yaml.Loader):
    """Also reads objects as mappings of their fields, and names as texts."""

    def construct_named(self, suffix: str, _: yaml.Node) -> PythonName:
        return PythonName(suffix)

    def construct_fields(self, _: str, node: yaml.MappingNode) -> dict[Any, Any]:
        return self.construct_mapping(node, deep=True)

    def construct_config(self, suffix: str, node: yaml.Node) -> Any:
        """The keys of a `CfgNode` that was written by `yaml.dump`."""
        if not isinstance(node, yaml.MappingNode) or not suffix.endswith(".CfgNode"):
            return self.refuse_call(suffix, node)
        return self.construct_mapping(node, deep=True).get("dictitems", {})

    def refuse_call(self, suffix: str, node: yaml.Node) -> NoReturn:
        problem = f"{suffix[:MAX_SHOWN]} would have to be executed, and is not: write plain values"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


_Loader.add_multi_constructor(f"{PYTHON}/name:", _Loader.construct_named)
_Loader.add_multi_constructor(f"{PYTHON}/object:", _Loader.construct_fields)
_Loader.add_multi_constructor(f"{PYTHON}/object/new:", _Loader.construct_config)
for _call in ("object/apply:", "module:"):
    _Loader.add_multi_constructor(f"{PYTHON}/{_call}", _Loader.refuse_call)


def read(path: Path) -> Any:
    """The content of a `config.yaml`, with classic keys.

    Raises NotYaml, OSError, and InvalidModel for a LazyConfig whose model is not computed.
    """
    content = yaml_file.read(path, _Loader)
    return _Reader(path, content).classic() if _is_lazy(content) else _decoded(content)


def _decoded(content: Any) -> Any:
    """Classic keys, with texts that are literals of Python decoded: `(1.0, 1.0)`, `None`.

    Source: yacs/config.py, `_decode_cfg_value`.
    """
    if isinstance(content, dict):
        return {key: _decoded(value) for key, value in content.items()}
    if not isinstance(content, str) or len(content) > MAX_LITERAL:
        return content
    try:
        value = ast.literal_eval(content)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return content
    return list(value) if isinstance(value, tuple) else value


def _is_lazy(content: Any) -> bool:
    model = content.get("model") if isinstance(content, dict) else None
    return isinstance(model, dict) and "_target_" in model


class _Reader:
    """Reads the parts of one file."""

    def __init__(self, path: Path, content: dict[Any, Any]) -> None:
        self._path = path
        self._content = content
        self._values: dict[str, Any] = {}

    def classic(self) -> dict[Any, Any]:
        """The file's values by classic key, and the keys that are no sections of LazyConfig."""
        self._part(MODEL, ["model"])
        heads = self._at(self._followed(["model", "roi_heads"]))
        if heads is None:
            self._refuse(["model", "roi_heads"], "is missing")
        self._values["MODEL.ROI_HEADS.NAME"] = str(heads["_target_"]).rpartition(".")[2]
        self._values["MODEL.MASK_ON"] = heads.get("mask_head") is not None
        changes = self._at(self._followed(AUGMENTATIONS))
        if changes == []:
            self._values["INPUT.MIN_SIZE_TEST"] = 0
        elif changes is not None:
            self._part(RESIZE, AUGMENTATIONS)
        beside = {key: value for key, value in self._content.items() if key not in SECTIONS}
        return beside | self._values

    def _part(self, part: Part, place: list[str]) -> None:
        """Note the values of a part, or of a list of parts."""
        where = self._followed(place)
        found = self._at(where)
        if isinstance(found, list):
            for i in range(len(found)):
                self._part(part, [*where, str(i)])
            return
        target = str(found.get("_target_") if isinstance(found, dict) else found)
        if not isinstance(found, dict) or not _makes(target, part.makers):
            only = " or ".join(part.makers)
            self._refuse(
                where, f"is made by {target[:MAX_SHOWN]}; only Detectron2's {only} is computed"
            )
        for argument in part.defaults.keys() - found.keys():
            self._note(part, argument, part.defaults[argument], where)
        ignored = {"_target_", *part.ignored.split()}
        for argument, value in found.items():
            if argument in part.parts:
                if value is not None:
                    self._part(part.parts[argument], [*where, argument])
            elif argument in part.keys:
                self._note(part, argument, self._at(self._followed([*where, argument])), where)
            elif argument not in ignored:
                self._refuse([*where, str(argument)[:MAX_SHOWN]], "is not computed")

    def _note(self, part: Part, argument: str, value: Any, where: list[str]) -> None:
        """Set the key of an argument, unless it has another value already."""
        key = part.keys[argument]
        if not isinstance(key, str):
            key, change = key
            value = change(value)
        if key == CASCADE_WEIGHTS:
            self._values.setdefault(key, []).append(value)
        elif value is not None and self._values.setdefault(key, value) != value:
            other = str(self._values[key])[:MAX_SHOWN]
            self._refuse([*where, argument], f"differs from {other}, which {key} is elsewhere")

    def _followed(self, where: list[str]) -> list[str]:
        """The place of a value, from a place that may refer to it."""
        for _ in range(MAX_REFERENCES):
            value = self._at(where)
            if not isinstance(value, str) or "${" not in value:
                return where
            found = REFERENCE.fullmatch(value)
            if found is None:
                self._refuse(where, f"is {value[:MAX_SHOWN]}, which is not read")
            up = len(found[1])
            where = [*(where[:-up] if up else []), *found[2].split(".")]
        return self._refuse(where, "is one of too many references")

    def _at(self, where: list[str]) -> Any:
        """The value at a place as it is written; None if there is none."""
        value: Any = self._content
        for step in where:
            if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
                value = value[int(step)]
            else:
                value = value.get(step) if isinstance(value, dict) else None
        return value

    def _refuse(self, where: list[str], reason: str) -> NoReturn:
        raise InvalidModel(
            f"{self._path}: {'.'.join(where)[:MAX_SHOWN]} {reason}. If the model is one that is "
            "served, describe it by classic keys such as MODEL.PIXEL_STD"
        )


def _makes(target: str, makers: tuple[str, ...]) -> bool:
    """Whether a target is one of Detectron2's classes or functions of these names."""
    return target.startswith("detectron2.") and any(target.endswith(f".{name}") for name in makers)
