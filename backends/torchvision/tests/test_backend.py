from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_weights import weights as weights_of_architecture
from numpy.typing import NDArray
from shapes import tally
from torch_weights import translated

from maskrcnn_server.backend import Image, Model, ModelConfig, PredictOptions, Probe
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_torchvision.backend import TorchvisionBackend


def test_shapes_are_found(
    shapes_model: Model, photograph: Callable[[str], Image], test_data: Path
) -> None:
    """Most of the objects drawn in twenty pictures are found in place and with their class, though
    the model was trained as TensorPack's, with other anchors and another RoIAlign."""
    counted = tally(shapes_model, photograph, test_data)
    assert counted.hits >= 0.8 * counted.drawn
    assert counted.found <= 2 * counted.drawn


def weights(shapes_dir: Path) -> dict[str, NDArray[np.float32]]:
    return dict(np.load(shapes_dir / "model.npz"))


def probe(folder: Path, **values: NDArray[Any]) -> Probe | None:
    np.savez(folder / "model.npz", allow_pickle=False, **values)
    return TorchvisionBackend().probe(ModelConfig(model_dir=folder))


def test_names_before_torchvision_0_13_are_known(tmp_path: Path, shapes_dir: Path) -> None:
    renames = {
        "rpn.head.conv.0.0.": "rpn.head.conv.",
        **{
            f"roi_heads.mask_head.{i}.0.": f"roi_heads.mask_head.mask_fcn{i + 1}." for i in range(4)
        },
        **{
            f"backbone.fpn.{part}_blocks.{i}.0.": f"backbone.fpn.{part}_blocks.{i}."
            for part in ("inner", "layer")
            for i in range(4)
        },
    }
    old = {}
    for name, value in weights(shapes_dir).items():
        new = next((new for new in renames if name.startswith(new)), "")
        old[name.replace(new, renames.get(new, ""), 1)] = value
    assert old.keys() != weights(shapes_dir).keys()
    found = probe(tmp_path, **old)
    assert found is not None
    assert not found.problems


def test_another_frameworks_checkpoint_is_none_of_ours(demo_dir: Path) -> None:
    assert TorchvisionBackend().probe(ModelConfig(model_dir=demo_dir)) is None


def test_a_head_of_another_kind_is_named(tmp_path: Path, shapes_dir: Path) -> None:
    keypoints = {"roi_heads.keypoint_head.0.weight": np.zeros((8, 64, 3, 3), np.float32)}
    found = probe(tmp_path, **weights(shapes_dir), **keypoints)
    assert found is not None
    assert "1 of 128 tensors do not belong" in found.problems[0]
    assert "roi_heads.keypoint_head.0.weight" in found.problems[0]


def test_counters_of_batch_norms_are_passed_over(tmp_path: Path, shapes_dir: Path) -> None:
    counters = {"backbone.body.bn1.num_batches_tracked": np.array(7)}
    found = probe(tmp_path, **weights(shapes_dir), **counters)
    assert found is not None
    assert not found.problems


def test_what_is_missing_is_named(tmp_path: Path, shapes_dir: Path) -> None:
    values = weights(shapes_dir)
    del values["roi_heads.box_head.fc7.bias"]
    found = probe(tmp_path, **values)
    assert found is not None
    assert "1 variable missing: fastrcnn/fc7/b" in found.problems[0]


def test_ninety_classes_are_assumed_to_be_cocos_by_their_ids(tmp_path: Path) -> None:
    values = translated("torchvision", weights_of_architecture("resnet50", "tensorpack"))
    values["roi_heads.box_predictor.cls_score.weight"] = np.zeros((91, 1024), np.float32)
    values["roi_heads.box_predictor.cls_score.bias"] = np.zeros(91, np.float32)
    values["roi_heads.box_predictor.bbox_pred.weight"] = np.zeros((364, 1024), np.float32)
    values["roi_heads.box_predictor.bbox_pred.bias"] = np.zeros(364, np.float32)
    values["roi_heads.mask_predictor.mask_fcn_logits.weight"] = np.zeros(
        (91, 256, 1, 1), np.float32
    )
    values["roi_heads.mask_predictor.mask_fcn_logits.bias"] = np.zeros(91, np.float32)
    np.savez(tmp_path / "model.npz", allow_pickle=False, **values)
    folder = TorchvisionBackend().read(ModelConfig(model_dir=tmp_path))
    assert not folder.problems
    by_id = {category.id: category for category in folder.categories}
    assert (by_id[90].name, by_id[90].dataset_id) == ("toothbrush", 90)
    assert by_id[12].name == "N/A"


def test_a_setting_of_another_framework_is_refused(shapes_dir: Path) -> None:
    config = ModelConfig(model_dir=shapes_dir, overrides={"PREPROC.MAX_SIZE": "800"})
    with pytest.raises(InvalidSetting, match=r"no such key: PREPROC\.MAX_SIZE"):
        TorchvisionBackend().load(config)


def test_epsilon_of_published_weights_can_be_configured(
    shapes_dir: Path, photograph: Callable[[str], Image], shapes_model: Model
) -> None:
    """COCO_V1 was trained with an epsilon of 0, which torchvision sets when it downloads them."""
    image = photograph("demo/golden/shapes-9500000.png")
    config = ModelConfig(model_dir=shapes_dir, overrides={"norm_eps": "0.5"})
    model = TorchvisionBackend().load(config)
    options = PredictOptions(score_threshold=0.05)
    (other,), (usual,) = model.predict([image], options), shapes_model.predict([image], options)
    assert len(other) != len(usual) or not np.allclose(other.scores, usual.scores, atol=1e-3)
    model.close()


def test_a_converted_checkpoint_keeps_its_names(shapes_dir: Path, tmp_path: Path) -> None:
    """So that no backend takes it for what it is not."""
    config = ModelConfig(model_dir=shapes_dir)
    assert set(TorchvisionBackend().converters()) == {"npz", "npz16"}
    TorchvisionBackend().converters()["npz"](config, tmp_path / "out")
    written, original = (np.load(folder / "model.npz") for folder in (tmp_path / "out", shapes_dir))
    assert set(written.files) == set(original.files)
    for name in original.files:
        np.testing.assert_array_equal(written[name], original[name])
    configs = [
        TorchvisionBackend().read(ModelConfig(model_dir=folder)).config
        for folder in (tmp_path / "out", shapes_dir)
    ]
    assert configs[0] == configs[1]
