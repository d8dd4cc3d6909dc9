"""What is read of a folder before the graph is loaded, and what is said of it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from maskrcnn_server.backend import Image, ModelConfig, PredictOptions, Probe
from maskrcnn_server.errors import InvalidModel
from maskrcnn_tf_object_detection.backend import TFObjectDetectionBackend
from maskrcnn_tf_object_detection.folder import read_folder
from maskrcnn_tf_object_detection.labels import read_labels

EVERYTHING = PredictOptions(score_threshold=0.0)


@pytest.fixture
def folder(model_dir: Path, tmp_path: Path) -> Path:
    """A copy of the model of TensorFlow 2."""
    shutil.copytree(model_dir, tmp_path, dirs_exist_ok=True)
    return tmp_path


def probed(folder: Path) -> Probe:
    found = TFObjectDetectionBackend().probe(ModelConfig(model_dir=folder))
    assert found is not None
    return found


def edited(folder: Path, change: Callable[[Any], object]) -> Path:
    path = folder / "saved_model/saved_model.pb"
    saved = SavedModel.FromString(path.read_bytes())
    change(saved.meta_graphs[0])
    path.write_bytes(saved.SerializeToString())
    return folder


def names(folder: Path) -> list[str]:
    return [category.name for category in read_folder(ModelConfig(model_dir=folder)).categories]


def test_the_facts_say_what_the_model_is(model_dir: Path) -> None:
    found = probed(model_dir)
    assert (found.problems, found.notes) == ([], [])
    assert found.facts == {
        "model": "saved_model/saved_model.pb",
        "size": "1.2 MB",
        "heads": "boxes and masks",
        "class names": "label_map.pbtxt",
        "feature extractor": "thin",
        "written by": "TensorFlow 2.15.1",
    }
    assert {path.name for path in found.files} == {
        *("saved_model.pb", "variables.index", "variables.data-00000-of-00001"),
        *("pipeline.config", "label_map.pbtxt"),
    }


def test_classes_without_a_name_are_numbered(model_dir: Path) -> None:
    assert names(model_dir) == ["cat", "dog", "class_3", "bird"]


def test_without_a_label_map_the_classes_are_counted(folder: Path) -> None:
    (folder / "label_map.pbtxt").unlink()
    assert names(folder) == ["class_1", "class_2", "class_3", "class_4"]
    assert probed(folder).notes == [
        "class names are numbered, because there are none; name them in a label map"
    ]
    (folder / "pipeline.config").unlink()
    assert len(names(folder)) == 4, "the scores of all classes have as many"


def test_where_nothing_counts_the_classes_they_are_assumed_to_be_cocos(
    exported: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copy(exported("tf1") / "frozen_inference_graph.pb", tmp_path / "mine.pb")
    assert names(tmp_path)[89] == "toothbrush"
    assert "assumed to be COCO's" in probed(tmp_path).notes[0]


def test_a_class_beyond_the_label_map_is_an_error(
    exported: Callable[[str], Path], picture: Callable[[str], Image], tmp_path: Path
) -> None:
    shutil.copy(exported("tf1") / "frozen_inference_graph.pb", tmp_path)
    (tmp_path / "mine.pbtxt").write_text("item { id: 1 name: 'one' }")
    model = TFObjectDetectionBackend().load(ModelConfig(model_dir=tmp_path))
    with pytest.raises(InvalidModel, match="found classes 2 to 3, but 1 to 1 are known"):
        model.predict([picture("chelsea")], EVERYTHING)
    model.close()


def test_several_label_maps_are_refused(folder: Path) -> None:
    shutil.copy(folder / "label_map.pbtxt", folder / "other.pbtxt")
    (folder / "graph.pbtxt").write_text('node { name: "x" }')
    assert "keep one of them: label_map.pbtxt, other.pbtxt" in probed(folder).problems[0]


LABELS = r"""
# A comment: item { id: 9 }
item: < id: 2, name: 'a\303\244\x21'; frequency: RARE ancestor_ids: [3, 4] >
item { keypoints { id: 7 label: "eye" } display_name: "two \"words\"" id: 3 name: "/m/01" }
item { id: 3 name: "again" } item { id: 0 name: "background" } item { id: 5 }
"""


def test_label_maps_are_read_as_the_text_format_is(tmp_path: Path) -> None:
    path = tmp_path / "map.pbtxt"
    path.write_text(LABELS)
    assert read_labels(path) == {2: "aä!", 3: 'two "words"', 5: "class_5"}
    path.write_text("node { id: 1 }")
    assert read_labels(path) is None


def inputs(change: Callable[[Any], object]) -> Callable[[Any], object]:
    return lambda meta: change(meta.signature_def["serving_default"].inputs["input_tensor"])


def take(value: Any) -> Callable[[Any], object]:
    def change(info: Any) -> None:
        for dim, length in zip(info.tensor_shape.dim, value, strict=True):
            dim.size = length

    return inputs(change)


def without(name: str) -> Callable[[Any], object]:
    return lambda meta: meta.signature_def["serving_default"].outputs.pop(name)


REFUSED = {
    "encoded images": (inputs(lambda info: setattr(info, "dtype", 7)), "--input_type image_tensor"),
    "integers": (inputs(lambda info: setattr(info, "dtype", 3)), "takes int32, but"),
    "several images": (take([8, -1, -1, 3]), r"takes [8, -1, -1, 3], but"),
    "one channel": (take([1, -1, -1, 1]), r"takes [1, -1, -1, 1], but"),
    "two inputs": (
        lambda meta: meta.signature_def["serving_default"].inputs["context"].SetInParent(),
        "instead of one image",
    ),
    "no scores": (without("detection_scores"), "has no detection_scores"),
    "no signature": (lambda meta: meta.signature_def.pop("serving_default"), "has no detection_b"),
    "another tag": (lambda meta: meta.meta_info_def.tags.__setitem__(0, "train"), "the tag serve"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_signature_is_refused(case: str, folder: Path) -> None:
    change, said = REFUSED[case]
    assert said in probed(edited(folder, change)).problems[0]


def test_images_are_resized_to_a_fixed_size(folder: Path, picture: Callable[[str], Image]) -> None:
    edited(folder, take([1, 96, 160, 3]))
    assert probed(folder).notes == [
        "images are resized to 160 x 96 pixels, the export's fixed size"
    ]
    model = TFObjectDetectionBackend().load(ModelConfig(model_dir=folder))
    image = picture("chelsea")
    (found,) = model.predict([image], EVERYTHING)
    assert found.size == image.shape[:2]
    assert found.boxes[:, 2].max() > 160
    model.close()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("engine", "openvino"),
        ("device", "cuda"),
        ("precision", "bfloat16"),
        ("resnet_arch", "resnet50"),
        ("overrides", {"MODEL": "1"}),
    ],
)
def test_a_setting_that_a_graph_does_not_have_is_refused(
    setting: str, value: object, model_dir: Path
) -> None:
    config = ModelConfig(model_dir=model_dir, **{setting: value})  # type: ignore[arg-type]
    found = TFObjectDetectionBackend().probe(config)
    assert found is not None
    assert found.problems


def test_options_are_obeyed(model_dir: Path, picture: Callable[[str], Image]) -> None:
    model = TFObjectDetectionBackend().load(ModelConfig(model_dir=model_dir))
    image = picture("chelsea")
    (everything,) = model.predict([image], EVERYTHING)
    (best,) = model.predict([image], PredictOptions(score_threshold=0.55, max_detections=4))
    assert everything.masks is not None
    assert best.masks is not None
    np.testing.assert_array_equal(best.scores, everything.scores[:4])
    first, same = (found.masks.rle("rows")[0] for found in (everything, best) if found.masks)
    np.testing.assert_array_equal(first.counts, same.counts)
    model.close()
