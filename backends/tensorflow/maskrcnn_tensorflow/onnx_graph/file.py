"""Writing a network as one file in ONNX that says of itself what a server has to know."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from maskrcnn_network.architecture import Architecture
from maskrcnn_network.config import NetworkConfig
from maskrcnn_network.graph.network import network
from maskrcnn_network.graph.rules import Rules
from maskrcnn_server.backend import ModelMetadata

KEY = "maskrcnn_server"
"""Of the file's metadata: a JSON object, which docs/onnx.md describes."""
SUFFIX = ".onnx"
NAME = f"model{SUFFIX}"


def write(
    target: Path,
    architecture: Architecture,
    config: NetworkConfig,
    rules: Rules,
    variables: Mapping[str, NDArray[np.float32]],
    metadata: ModelMetadata,
) -> None:
    """Write `target` if it ends in `.onnx`, else a folder of that name with `model.onnx` in it."""
    said = description(architecture, config, variables, metadata)
    model = network(variables, architecture, config, rules, {KEY: json.dumps(said)})
    if target.suffix != SUFFIX:
        target.mkdir(parents=True)
        target = target / NAME
    onnx.save(model, target)


def description(
    architecture: Architecture,
    config: NetworkConfig,
    variables: Mapping[str, NDArray[np.float32]],
    metadata: ModelMetadata,
) -> dict[str, Any]:
    """What a server has to know, and what its operator may want to."""
    rule = config.resampling
    resized = config.short_edge is not None
    return {
        "format": 1,
        "name": metadata.name,
        "architecture": architecture.name,
        "classes": [category.name for category in metadata.categories],
        "dataset_ids": [category.dataset_id for category in metadata.categories],
        "score_threshold": metadata.score_threshold,
        "detections": config.detections,
        "one_scale": rule.one_scale,
        "paste": config.paste,
        "preprocessing": {
            "short_edge": config.short_edge,
            "long_edge": config.long_edge if resized else None,
            "rounding": rule.rounding,
            "resampling": "pillow" if rule.antialias else "opencv" if rule.whole else "float",
            "channels": "RGB",
            "mean": list(config.rgb_mean),
            "multiple_of": config.stride,
        },
        "source": {
            "backend": metadata.backend,
            "checkpoint": metadata.facts["checkpoint"],
            "sha256": _sha256(variables),
        },
        "facts": {
            name: value
            for name, value in metadata.facts.items()
            if name in ("checkpoint", "step", "architecture", "classes", "resize")
        },
    }


def _sha256(variables: Mapping[str, NDArray[np.float32]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(variables):
        digest.update(f"{name} {variables[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(variables[name], "<f4").data)
    return digest.hexdigest()
