"""Writing a model in 8-bit integers: static, per channel, calibrated on images.

Source: Jacob et al. 2018. The arithmetic is that of onnxruntime.quantization.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
from onnx import helper
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from maskrcnn_network.calibration import MIN_CHANNELS, change
from maskrcnn_onnx import description
from maskrcnn_onnx.folder import SUFFIX, ModelFolder, read_folder
from maskrcnn_onnx.foreign import ForeignModel
from maskrcnn_onnx.model import OnnxModel
from maskrcnn_onnx.session import Feed, OpenVino
from maskrcnn_server.backend import Image, LayerChange, ModelConfig, PredictOptions
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.machine import available_cpus

PRODUCTS = ("Conv", "Gemm")
"""Operators that compute from integers to float32. Where the result is the input of another of
them, the engine converts it to integers at once."""
MIN_OPSET = 13
"""First opset in which DequantizeLinear has a scale for each channel."""
MEASURED = 4
"""Number of images on which each part is measured."""
OPTIONS = PredictOptions(score_threshold=0.05)

Served: TypeAlias = OnnxModel | ForeignModel
Report: TypeAlias = Callable[[LayerChange], None]
Parts: TypeAlias = Mapping[str, Sequence[str]]
"""The names of the nodes in each part."""


def quantize(
    config: ModelConfig,
    served: Served,
    samples: Sequence[Image],
    target: Path,
    max_change: float | None,
    report: Report,
) -> None:
    """Write the model that is `served` as a model folder, or a file that ends in `.onnx`.

    What each part changes alone is measured and reported; those that change more than `max_change`
    stay in float32. Raises InvalidModel if nothing in it can be quantised, or its opset is too old.
    """
    folder = read_folder(config)
    threads = config.threads or available_cpus()
    model = onnx.load(folder.path)
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < MIN_OPSET:
        raise InvalidModel(
            f"{folder.path}: opset {opset} has only one scale for all channels of a layer; export "
            f"the model with opset {MIN_OPSET} or later"
        )
    _name_nodes(model)
    parts = _parts(model)
    if not parts:
        raise InvalidModel(f"{folder.path}: nothing can be quantised, or it already is")
    ranges = _ranges(model, parts, [served.feed_of(image) for image in samples], threads)
    kept: list[str] = []
    if max_change is not None:
        for part in _measured(model, parts, ranges, served, samples, threads):
            report(replace(part, kept=part.share > max_change))
            kept += [part.name] if part.share > max_change else []
    rest = {part: nodes for part, nodes in parts.items() if part not in kept}
    if not rest:
        raise InvalidModel(
            f"{folder.path}: every part of it changes more than {max_change} of what is found"
        )
    finished = _quantized(model, rest, ranges)
    _describe(finished, kept, len(samples))
    _write(finished, folder, target)


def _measured(
    model: onnx.ModelProto,
    parts: Parts,
    ranges: TensorsData,
    served: Served,
    samples: Sequence[Image],
    threads: int,
) -> Iterator[LayerChange]:
    """What each part changes alone, on a few of the samples."""
    measured = samples[:: max(1, len(samples) // MEASURED)][:MEASURED]
    reference = served.predict(measured, OPTIONS)
    for part, nodes in parts.items():
        alone = _quantized(model, {part: nodes}, ranges).SerializeToString()
        found = served.computed_by(OpenVino(alone, threads)).predict(measured, OPTIONS)
        yield LayerChange(part, change(found, reference))


def _name_nodes(model: onnx.ModelProto) -> None:
    """Name the nodes that have no name, which ONNX allows."""
    for i, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{i}"


def _parts(model: onnx.ModelProto) -> dict[str, list[str]]:
    """The nodes that can be computed in integers, by the part of the network they are in."""
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    parts: dict[str, list[str]] = {}
    for node in model.graph.node:
        if node.op_type in PRODUCTS and _is_wide(node, weights):
            parts.setdefault(_part(node.name), []).append(node.name)
    return parts


def _is_wide(node: onnx.NodeProto, weights: Mapping[str, Sequence[int]]) -> bool:
    shape = weights.get(node.input[1])
    return shape is not None and min(shape[:2]) >= MIN_CHANNELS


def _part(node: str) -> str:
    """Name of a node's part: `group2/block3` for all its layers, `rpn/conv0` for all its uses."""
    block = re.match(r"group\d/block\d+", node)
    return block[0] if block else re.sub(r"#\d+$", "", node)


def _ranges(
    model: onnx.ModelProto, parts: Parts, feeds: Sequence[Feed], threads: int
) -> TensorsData:
    """Minimum and maximum of every tensor that is an input of the parts."""
    inside = {name for nodes in parts.values() for name in nodes}
    names = {node.input[0] for node in model.graph.node if node.name in inside}
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    ends = {}
    for name in sorted(names):
        ends[name] = [f"{name} least", f"{name} largest"]
        for operator, end in zip(("ReduceMin", "ReduceMax"), ends[name], strict=True):
            watched.graph.node.append(helper.make_node(operator, [name], [end], keepdims=0))
            kind = helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, [])
            watched.graph.output.append(kind)
    session = OpenVino(watched.SerializeToString(), threads)
    outputs = [end for pair in ends.values() for end in pair]
    values = np.array([session.run(outputs, feed) for feed in feeds]).reshape(len(feeds), -1, 2)
    least, largest = values[..., 0].min(axis=0), values[..., 1].max(axis=0)
    data = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, low, high in zip(ends, least, largest, strict=True)
    }
    return TensorsData(CalibrationMethod.MinMax, data)


def _quantized(model: onnx.ModelProto, parts: Parts, ranges: TensorsData) -> onnx.ModelProto:
    """`model` with these parts in integers: unsigned 8-bit activations, signed 8-bit weights."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    quantizer = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=[name for nodes in parts.values() for name in nodes],
        nodes_to_exclude=[],
        op_types_to_quantize=[*PRODUCTS],
        extra_options={"OpTypesToExcludeOutputQuantization": [*PRODUCTS]},
    )
    quantizer.quantize_model()
    finished: onnx.ModelProto = quantizer.model.model
    _put_in_order(finished.graph)
    return finished


def _put_in_order(graph: onnx.GraphProto) -> None:
    """Put nodes behind those whose outputs they take.

    The quantizer's order ignores the inputs of branches and loops.
    """
    nodes = list(graph.node)
    makers = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    before = {i: {makers[n] for n in _taken(node) & makers.keys()} for i, node in enumerate(nodes)}
    ordered = [nodes[i] for i in TopologicalSorter(before).static_order()]
    graph.ClearField("node")
    graph.node.extend(ordered)


def _taken(node: onnx.NodeProto) -> set[str]:
    """Names of the inputs of a node and of the graphs in it."""
    names = set(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            names |= {end.name for end in graph.output}.union(*map(_taken, graph.node))
    return names


def _describe(model: onnx.ModelProto, kept: Sequence[str], images: int) -> None:
    """Record the quantisation in our metadata, if the model has it."""
    for entry in model.metadata_props:
        if entry.key == description.KEY:
            said = json.loads(entry.value)
            said["facts"]["precision"] = f"int8, calibrated on {images} images"
            said["facts"]["kept in float32"] = ", ".join(kept) or "nothing that can be quantised"
            entry.value = json.dumps(said)


def _write(model: onnx.ModelProto, folder: ModelFolder, target: Path) -> None:
    described = folder.path.with_name(description.FILE)
    if target.suffix != SUFFIX:
        target.mkdir(parents=True)
        if described.is_file():
            shutil.copyfile(described, target / description.FILE)
        target = target / folder.path.name
    onnx.save(model, target)
