"""Models as others write them: recognised, or described in `model.yaml`."""

from collections.abc import Callable
from pathlib import Path
from shutil import copy

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_stand_ins import mmdetection, zoo

from maskrcnn_onnx.backend import OnnxBackend
from maskrcnn_server.backend import Image, ModelConfig, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import InvalidModel

HEIGHT, WIDTH = 60, 100
TORCHVISION = Path(__file__).parent / "data/torchvision.onnx"


def half_bright() -> Image:
    """Its left half is white, the other black."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, : WIDTH // 2] = 255
    return image


def load(folder: Path) -> Callable[[PredictOptions], Detections]:
    model = OnnxBackend().load(ModelConfig(model_dir=folder))

    def predict(options: PredictOptions) -> Detections:
        (found,) = model.predict([half_bright()], options)
        return found

    return predict


def facts(folder: Path) -> dict[str, str]:
    probe = OnnxBackend().probe(ModelConfig(model_dir=folder))
    assert probe is not None
    assert not probe.problems
    return dict(probe.facts)


@pytest.mark.parametrize(
    ("write", "author", "last"),
    [
        (zoo, "ONNX model zoo", 80),
        (mmdetection, "MMDetection", 80),
    ],
    ids=["zoo", "mmdetection"],
)
def test_layout_is_recognised(
    write: Callable[[Path], None], author: str, last: int, tmp_path: Path
) -> None:
    write(tmp_path / "model.onnx")
    assert facts(tmp_path)["layout"] == author
    found = load(tmp_path)(PredictOptions())
    assert found.category_ids.tolist() == [1, last]
    np.testing.assert_allclose(found.scores, [0.9, 0.6])
    # Padding to a multiple of 32 belongs to the network's input, not to the picture.
    np.testing.assert_allclose(found.boxes[1], [0, 0, WIDTH, HEIGHT], atol=1)
    assert found.boxes[0, 2] == pytest.approx(WIDTH / 2, abs=1)


def test_masks_in_boxes_are_pasted(tmp_path: Path) -> None:
    """maskrcnn-benchmark puts zeros around a mask first: its outermost pixels are lost."""
    zoo(tmp_path / "model.onnx")
    found = load(tmp_path)(PredictOptions())
    assert found.masks is not None
    bitmap = found.masks.rle("rows")[0].bitmap()
    assert bitmap[2:-2, 2 : WIDTH // 2 - 2].all()
    assert not bitmap[:, WIDTH // 2 + 2 :].any()


def test_options_are_kept(tmp_path: Path) -> None:
    mmdetection(tmp_path / "model.onnx")
    predict = load(tmp_path)
    assert len(predict(PredictOptions(score_threshold=0.7))) == 1
    assert len(predict(PredictOptions(max_detections=1))) == 1
    assert predict(PredictOptions(masks=False)).masks is None
    assert len(predict(PredictOptions(score_threshold=0.0))) == 2


def test_boxes_without_scores_are_an_error(tmp_path: Path) -> None:
    mmdetection(tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    (boxes,) = (node for node in model.graph.node if "dets" in node.output)
    boxes.input.remove("scores_")
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(InvalidModel, match="boxes have no scores"):
        load(tmp_path)(PredictOptions())


def test_description_wins_over_what_is_assumed(tmp_path: Path) -> None:
    zoo(tmp_path / "model.onnx")
    names = ", ".join(f"thing{i}" for i in range(80))
    (tmp_path / "model.yaml").write_text(
        f"name: things\nclasses: [{names}]\nscore_threshold: 0.7\n"
        "preprocessing: {short_edge: 32}\n"
    )
    model = OnnxBackend().load(ModelConfig(model_dir=tmp_path))
    assert model.metadata.name == "things"
    assert model.metadata.categories[79].name == "thing79"
    assert model.metadata.categories[79].dataset_id == 80
    assert len(model.predict([half_bright()], PredictOptions())[0]) == 1


def renamed(path: Path) -> None:
    """torchvision's, with outputs of which two have the same shape."""
    model = onnx.load(TORCHVISION)
    for output, name in zip(model.graph.output, ("a", "b", "c", "d"), strict=True):
        model.graph.node.append(helper.make_node("Identity", [output.name], [name]))
        output.name = name
    model.graph.node.append(helper.make_node("Identity", ["c"], ["quality"]))
    model.graph.output.append(helper.make_tensor_value_info("quality", 1, ["N"]))
    onnx.save(model, path)


def test_outputs_that_are_not_recognised_are_mapped(tmp_path: Path) -> None:
    renamed(tmp_path / "model.onnx")
    probe = OnnxBackend().probe(ModelConfig(model_dir=tmp_path))
    assert probe is not None
    assert "no output is recognised as scores" in probe.problems[0]
    assert "outputs: {scores: NAME}" in probe.problems[0]
    (tmp_path / "model.yaml").write_text(
        "outputs: {scores: c}\nclasses: [one, two]\npreprocessing: {std: [255, 255, 255]}\n"
    )
    with pytest.raises(InvalidModel, match=r"class \d+, but only 2"):
        load(tmp_path)(PredictOptions())


def test_a_layout_that_nobody_knows_has_to_be_described(tmp_path: Path) -> None:
    """Detectron2's, which has the image's size among its outputs and labels from 0."""
    zoo(tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    model.graph.node.append(helper.make_node("Shape", ["image"], ["size"], start=1))
    model.graph.output.append(helper.make_tensor_value_info("size", onnx.TensorProto.INT64, [2]))
    model.graph.node.append(helper.make_node("Identity", ["labels_"], ["pred_classes"]))
    model.graph.output[1].name = "pred_classes"
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(InvalidModel, match="no description of how to prepare"):
        OnnxBackend().load(ModelConfig(model_dir=tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "outputs: {masks: nothing}",
            "there is no output nothing; found: boxes float32 (Concatboxes_dim_0, 4)",
        ),
        ("resize: 800", "resize: Extra inputs are not permitted"),
        ("first_label: 2", "first_label: Input should be 0 or 1"),
        ("preprocessing: {std: [0, 1, 1]}", "preprocessing.std.0: Input should be greater than 0"),
        ("preprocessing: {long_edge: 9}", "long_edge needs short_edge"),
        ("dataset_ids: [1]", "1 dataset_ids for 0 classes"),
        ("- a list", "Input should be a valid dictionary"),
        ("a: &x [1]\na: *x", "the key a comes twice"),
        ("a: [", "not YAML"),
    ],
)
def test_a_wrong_description_is_an_error(text: str, message: str, tmp_path: Path) -> None:
    copy(TORCHVISION, tmp_path)
    (tmp_path / "model.yaml").write_text(text)
    probe = OnnxBackend().probe(ModelConfig(model_dir=tmp_path))
    assert probe is not None
    assert message in probe.problems[0]


def test_a_model_without_boxes_is_refused_with_what_it_has(tmp_path: Path) -> None:
    mmdetection(tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    del model.graph.output[0]
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(InvalidModel, match=r"boxes, scores; found: labels int64 \(1, N\)"):
        OnnxBackend().load(ModelConfig(model_dir=tmp_path))


def test_an_input_that_is_no_image_is_refused(tmp_path: Path) -> None:
    zoo(tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(InvalidModel, match="must have one input, float32"):
        OnnxBackend().load(ModelConfig(model_dir=tmp_path))


def test_a_fixed_size_is_noted(tmp_path: Path) -> None:
    model = onnx.load(TORCHVISION)
    for dim, length in zip(
        model.graph.input[0].type.tensor_type.shape.dim, (3, 60, 80), strict=True
    ):
        dim.dim_value = length
    onnx.save(model, tmp_path / "model.onnx")
    probe = OnnxBackend().probe(ModelConfig(model_dir=tmp_path))
    assert probe is not None
    assert probe.facts["layout"] == "torchvision"
    assert "resized to fit 80 x 60 pixels" in probe.notes[1]
    model.graph.node[0].op_type = "Nonsense"
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(InvalidModel, match=r"Nonsense.*export it with dynamic_axes"):
        OnnxBackend().load(ModelConfig(model_dir=tmp_path))
