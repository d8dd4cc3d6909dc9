"""Operators that other programs write into ONNX files besides the standard ones."""

from maskrcnn_openvino.runtime import openvino

MODES = ("bilinear", "nearest", "bicubic")
PADDING = ("zeros", "border", "reflection")


def with_mmcv(core: openvino.Core) -> openvino.Core:
    """`core`, extended by the operators that MMDetection's exporter takes from MMCV."""
    onnx = openvino.frontend.onnx
    core.add_extension(onnx.ConversionExtension("grid_sampler", "mmcv", _grid_sampler))
    return core


def _grid_sampler(node: openvino.frontend.NodeContext) -> list[openvino.Output]:
    """MMCV's `grid_sampler`, which equals GridSample of later opsets.

    Source: mmcv 1.7, mmcv/onnx/symbolic.py.
    """
    attributes = {
        "align_corners": bool(node.get_attribute("align_corners")),
        "mode": MODES[node.get_attribute("interpolation_mode")],
        "padding_mode": PADDING[node.get_attribute("padding_mode")],
    }
    sampled = openvino.opset13.grid_sample(node.get_input(0), node.get_input(1), attributes)
    return [sampled.output(0)]
