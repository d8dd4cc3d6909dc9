"""Parameters of AWS's calls that no option has, from a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard, cast

from maskrcnn_server import yaml_file
from maskrcnn_server.errors import InvalidSetting

Extra: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Parameters by operation."""

NAMES = {
    "CreateModel": ("ModelName",),
    "CreateEndpointConfig": ("EndpointConfigName",),
    "CreateEndpoint": ("EndpointName", "EndpointConfigName"),
    "UpdateEndpoint": ("EndpointName", "EndpointConfigName"),
    "CreateInferenceComponent": ("InferenceComponentName", "EndpointName"),
    "CreateTransformJob": ("TransformJobName", "ModelName"),
}
"""Operations that take more parameters, each with its parameters that `deploy` sets itself."""


def merged(parameters: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Both; where both have a value, mappings are merged, items of lists of mappings in their
    order, `Tags` are joined, and anything else is that of `more`."""
    result = dict(parameters)
    for key, value in more.items():
        before = result.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            result[key] = merged(before, value)
        elif key == "Tags" and isinstance(before, list) and isinstance(value, list):
            result[key] = [*before, *value]
        elif _are_mappings(before) and _are_mappings(value):
            both = [merged(a, b) for a, b in zip(before, value, strict=False)]
            result[key] = [*both, *before[len(value) :], *value[len(before) :]]
        else:
            result[key] = value
    return result


def read(path: Path) -> Extra:
    """The file's content. Raises InvalidSetting."""
    try:
        found = yaml_file.read(path) or {}
    except (OSError, yaml_file.NotYaml) as error:
        raise InvalidSetting(f"{path}: {error}") from None
    if not isinstance(found, dict):
        raise InvalidSetting(f"{path}: not a mapping of operations")
    for operation, parameters in found.items():
        if operation not in NAMES:
            raise InvalidSetting(f"{path}: {operation} is none of {', '.join(NAMES)}")
        if not isinstance(parameters, Mapping):
            raise InvalidSetting(f"{path}: {operation}: not a mapping of parameters")
        for name in NAMES[operation]:
            if name in parameters:
                raise InvalidSetting(f"{path}: {operation}: `deploy` sets {name}")
    return cast(Extra, found)


def _are_mappings(value: Any) -> TypeGuard[list[Mapping[str, Any]]]:
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)
