"""The demo in 8-bit integers."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from shapes import tally

from maskrcnn_onnx import description
from maskrcnn_onnx.backend import OnnxBackend
from maskrcnn_server.agreement import compare
from maskrcnn_server.backend import (
    Image,
    LayerChange,
    Model,
    ModelConfig,
    PredictOptions,
    Quantizes,
)
from maskrcnn_server.errors import InvalidModel, InvalidSetting

pytestmark = pytest.mark.full

PICTURES = [f"demo/golden/shapes-{seed}.png" for seed in range(9500000, 9500003)]


@pytest.fixture(scope="module")
def samples(photograph: Callable[[str], Image]) -> list[Image]:
    return [photograph(path) for path in PICTURES]


@pytest.fixture(scope="module")
def int8_dir(
    onnx_dir: Path, samples: list[Image], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    target = tmp_path_factory.mktemp("int8") / "demo"
    OnnxBackend().quantize(ModelConfig(model_dir=onnx_dir), samples, target, None, unexpected)
    return target


def unexpected(change: LayerChange) -> None:
    pytest.fail(f"{change.name} was measured")


def test_integers_are_what_the_file_says(
    int8_dir: Path, samples: list[Image], assert_as_defined: Callable[[Path, Image], None]
) -> None:
    """But for numbers midway between two integers, which a CPU may round to either."""
    for image in samples:
        assert_as_defined(int8_dir, image)


def test_what_was_drawn_is_found_as_before(
    int8_dir: Path, onnx_model: Model, photograph: Callable[[str], Image], test_data: Path
) -> None:
    model = OnnxBackend().load(ModelConfig(model_dir=int8_dir))
    before, after = (tally(m, photograph, test_data) for m in (onnx_model, model))
    assert after.drawn == before.drawn
    assert after.hits >= before.hits - 2
    assert after.found <= before.found + 4


def test_products_are_of_integers_but_where_that_saves_nothing(int8_dir: Path) -> None:
    """conv0 has three channels, and the RPN's outputs are few."""
    graph = onnx.load(int8_dir / "model.onnx").graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    products = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    floats = {n.name.partition("#")[0] for n in products if makers.get(n.input[1]) is None}
    assert floats == {"conv0", "rpn/class", "rpn/box", "fastrcnn/outputs/class"}
    assert sum(makers.get(n.input[1]) == "DequantizeLinear" for n in products) > 30


def test_the_file_says_what_was_done(int8_dir: Path, onnx_dir: Path) -> None:
    probe = OnnxBackend().probe(ModelConfig(model_dir=int8_dir))
    assert probe is not None
    assert probe.facts["precision"] == "int8, calibrated on 3 images"
    assert probe.facts["kept in float32"] == "nothing that can be quantised"
    sizes = [(d / "model.onnx").stat().st_size for d in (int8_dir, onnx_dir)]
    assert sizes[0] < 0.3 * sizes[1]


def test_parts_that_change_too_much_stay_in_float32(
    onnx_dir: Path, samples: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from maskrcnn_onnx import quantization

    parts = quantization._parts
    monkeypatch.setattr(
        quantization,
        "_parts",
        lambda model: {
            p: n for p, n in parts(model).items() if p in ("maskrcnn/fcn3", "group0/block0")
        },
    )
    changes: list[LayerChange] = []
    config = ModelConfig(model_dir=onnx_dir)
    OnnxBackend().quantize(config, samples[:1], tmp_path / "model.onnx", 0.01, changes.append)
    with pytest.raises(InvalidModel, match=r"every part of it changes more than 0\.0"):
        OnnxBackend().quantize(config, samples[:1], tmp_path / "none", 0.0, lambda _: None)
    assert [change.name for change in changes] == ["group0/block0", "maskrcnn/fcn3"]
    assert 1 > changes[0].share > 0.01 > changes[1].share > 0
    assert [change.kept for change in changes] == [True, False]
    said = {e.key: e.value for e in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert json.loads(said[description.KEY])["facts"]["kept in float32"] == "group0/block0"


def test_a_model_in_integers_is_not_quantised_again(
    int8_dir: Path, samples: list[Image], tmp_path: Path
) -> None:
    config = ModelConfig(model_dir=int8_dir)
    with pytest.raises(InvalidModel, match="or it already is"):
        OnnxBackend().quantize(config, samples, tmp_path / "out", None, unexpected)


def test_what_quantising_needs_is_named(
    onnx_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "maskrcnn_onnx.quantization", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    config = ModelConfig(model_dir=onnx_dir)
    with pytest.raises(InvalidSetting, match=r"pip install 'maskrcnn-onnx\[quantization\]'"):
        OnnxBackend().quantize(config, [], tmp_path / "out", None, unexpected)


def test_backend_says_that_it_quantises() -> None:
    assert isinstance(OnnxBackend(), Quantizes)


def test_most_detections_are_where_they_were(
    int8_dir: Path, onnx_model: Model, samples: list[Image]
) -> None:
    model = OnnxBackend().load(ModelConfig(model_dir=int8_dir))
    matched = found = 0
    for image in samples:
        (before,), (after,) = (m.predict([image], PredictOptions()) for m in (onnx_model, model))
        result = compare(after, before, box_tolerance=4)
        matched += len(result.pairs)
        found += max(len(before), len(after))
        assert result.score_differences.max() < 0.2
        assert np.mean(result.mask_ious) > 0.95
    assert matched >= 0.8 * found
