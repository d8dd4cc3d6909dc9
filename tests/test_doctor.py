"""`doctor` says what `serve` would say, of the weights, the configuration and the settings."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from maskrcnn_handlers.cli.main import program
from maskrcnn_server import settings as environment
from maskrcnn_server.errors import MaskRCNNError
from maskrcnn_server.hosting.startup import open_model
from maskrcnn_server.plugins import installed

DEMO = Path(__file__).parents[1] / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
CHECKPOINT = "model-6770.npz"
Values = dict[str, NDArray[Any]]


def says(model: Path, variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> str | None:
    """What both refuse the model with; None if both would serve it."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(program(installed()), ["doctor", str(model)])
    error = refusal(model)
    if error is None:
        assert done.exception is None
        assert "would be served" in done.output
        return None
    assert isinstance(done.exception, MaskRCNNError), done.output
    assert done.exception.code == error.code
    return error.message


def refusal(model: Path) -> MaskRCNNError | None:
    """Why the server would not begin."""
    try:
        open_model(installed(), environment.read(model=str(model))).close()
    except MaskRCNNError as error:
        return error
    return None


def changed(**parts: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[Values], object]:
    """A change of variables; two underscores stand for a slash in their names."""

    def change(values: Values) -> None:
        for part, new in parts.items():
            name = part.replace("__", "/")
            values[name] = new(values[name])

    return change


def of_all(new: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[Values], object]:
    return lambda values: values.update({name: new(value) for name, value in values.items()})


def with_one(value: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def change(values: NDArray[Any]) -> NDArray[Any]:
        new = values.astype(np.float64)
        new.flat[3] = value
        return new

    return change


WEIGHTS: dict[str, tuple[Callable[[Values], object], str | None]] = {
    "NaN in a weight": (changed(conv0__W=with_one(np.nan)), "hold NaN or infinity"),
    "minus infinity in a gamma": (changed(conv0__bn__gamma=with_one(-np.inf)), "NaN or infinity"),
    "a number above float32": (changed(fastrcnn__fc7__b=with_one(1e39)), "NaN or infinity"),
    "a negative variance": (changed(conv0__bn__variance__EMA=with_one(-1)), "are negative"),
    "a variance of zero": (changed(conv0__bn__variance__EMA=lambda v: v * 0), None),
    "a missing bias": (lambda values: values.pop("maskrcnn/conv/b"), "1 variable missing"),
    "a missing head": (
        lambda values: [values.pop(name) for name in [*values] if name.startswith("rpn")],
        "variables missing",
    ),
    "a column less": (changed(fastrcnn__fc7__W=lambda v: v[:, :-1]), "wrong shape"),
    "one axis": (changed(fastrcnn__fc6__W=np.ravel), "the weights have"),
    "integers": (changed(fastrcnn__fc7__W=lambda v: v.astype(np.int32)), "not floating-point"),
    "texts": (changed(fastrcnn__fc7__b=lambda v: v.astype("U8")), "not floating-point"),
    "complex numbers": (changed(fastrcnn__fc7__b=lambda v: v + 0j), "not floating-point"),
    "float64": (of_all(lambda v: v.astype(np.float64)), None),
    "float16": (of_all(lambda v: v.astype(np.float16)), None),
    "big endian": (of_all(lambda v: v.astype(">f4")), None),
    "columns first in memory": (of_all(np.asfortranarray), None),
    "an optimizer besides": (
        lambda values: values.update({"fastrcnn/fc6/W/Momentum": np.zeros(3, np.float32)}),
        None,
    ),
}
"""By change of the weights, what is said of them."""


@pytest.mark.parametrize("name", WEIGHTS)
def test_of_weights(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change, said = WEIGHTS[name]
    values = dict(np.load(DEMO / CHECKPOINT))
    change(values)
    np.savez(tmp_path / CHECKPOINT, allow_pickle=False, **values)
    shutil.copy(DEMO / "config.yaml", tmp_path)
    found = says(tmp_path, {}, monkeypatch)
    assert found is None if said is None else found is not None and said in found


FILES: dict[str, tuple[str, str, str | None]] = {
    "sizes without an end": ("config.yaml", "PREPROC: {TEST_SHORT_EDGE_SIZE: 5000000}", "16384"),
    "proposals without an end": (
        "config.yaml",
        "RPN: {TEST_PER_LEVEL_NMS_TOPK: 1000000000}",
        "equal to 1000000",
    ),
    "a deviation of 0": ("config.yaml", "PREPROC: {PIXEL_STD: [0, 1, 1]}", "PIXEL_STD=0"),
    "a deviation of NaN": ("config.yaml", "PREPROC: {PIXEL_STD: [.nan, 1, 1]}", "finite"),
    "an infinite mean": ("config.yaml", "PREPROC: {PIXEL_MEAN: [.inf, 0, 0]}", "finite"),
    "anchors without a height": ("config.yaml", "RPN: {ANCHOR_RATIOS: [0, 1, 2]}", "greater than"),
    "anchors of a negative size": ("config.yaml", "RPN: {ANCHOR_SIZES: [-1, 2, 3, 4, 5]}", "=-1"),
    "four sizes": ("config.yaml", "RPN: {ANCHOR_SIZES: [1, 2, 3, 4]}", "RPN.ANCHOR_SIZES"),
    "regressions by 0": ("config.yaml", "FRCNN: {BBOX_REG_WEIGHTS: [0, 1, 1, 1]}", "greater than"),
    "no results": ("config.yaml", "TEST: {RESULTS_PER_IM: 0}", "RESULTS_PER_IM=0"),
    "two names": ("classes.txt", "a\nb\n", "names 2 classes"),
    "names in JSON": ("classes.txt", '["a", "b"]', "names 1 classes"),
    "no names": ("classes.txt", "", "names 0 classes"),
    "very many names": ("classes.txt", "a\n" * 10**6, "larger than"),
    "empty lines between names": ("classes.txt", "a\n\nb\nc\nd\ne\nf\n\n", None),
    "a broken calibration that nobody asks for": ("int8.json", "[", None),
}


@pytest.mark.parametrize("name", FILES)
def test_of_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, content, said = FILES[name]
    shutil.copytree(DEMO, tmp_path / "model")
    (tmp_path / "model" / file).write_text(content)
    found = says(tmp_path / "model", {}, monkeypatch)
    assert found is None if said is None else found is not None and said in found


SETTINGS: dict[str, tuple[dict[str, str], str]] = {
    "another architecture": ({"RESNET_ARCH": "resnet50"}, "RESNET_ARCH is resnet50"),
    "no calibration": ({"MASKRCNN_PRECISION": "int8"}, "int8 needs this file"),
    "no original code": ({"MASKRCNN_ENGINE": "original"}, "needs a checkout"),
    "original code that is none": (
        {"MASKRCNN_ENGINE": "original", "TENSORPACK_FASTERRCNN": "/"},
        "missing",
    ),
    "original code in int8": (
        {"MASKRCNN_ENGINE": "original", "MASKRCNN_PRECISION": "int8"},
        "computes only in float32",
    ),
    "no such engine": ({"MASKRCNN_ENGINE": "onnxruntime"}, "not installed"),
    "no such key": ({"CONFIG__A__B": "1"}, "no such key"),
    "no such option": ({"TENSORPACK_FAST": "1"}, "no such option"),
    "a value of another type": ({"CONFIG__TEST__RESULTS_PER_IM": "x"}, "RESULTS_PER_IM='x'"),
    "a backend for other files": ({"MASKRCNN_BACKEND": "torchvision"}, "TensorPack's"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_of_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables, said = SETTINGS[name]
    assert said in str(says(DEMO, variables, monkeypatch))
