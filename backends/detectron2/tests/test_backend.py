from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from shapes import tally

from maskrcnn_detectron2.backend import FILES, Detectron2Backend
from maskrcnn_server.backend import Image, Model, ModelConfig, PredictOptions
from maskrcnn_server.errors import InvalidModel, InvalidSetting


def test_shapes_are_found(
    shapes_model: Model, photograph: Callable[[str], Image], test_data: Path
) -> None:
    """Most of the objects drawn in twenty pictures are found in place and with their class, though
    the model was trained as TensorPack's, with other anchors and another RoIAlign."""
    counted = tally(shapes_model, photograph, test_data)
    assert counted.hits >= 0.8 * counted.drawn
    assert counted.found <= 2 * counted.drawn


def configured(folder: Path, shapes_dir: Path, config: str) -> ModelConfig:
    (folder / "model.npz").symlink_to(shapes_dir / "model.npz")
    (folder / "config.yaml").write_text(config)
    return ModelConfig(model_dir=folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("MODEL: {ROI_BOX_HEAD: {POOLER_TYPE: ROIAlign}}", r"POOLER_TYPE='ROIAlign'"),
        ("MODEL: {ROI_MASK_HEAD: {POOLER_SAMPLING_RATIO: 2}}", r"POOLER_SAMPLING_RATIO=2"),
        ("MODEL: {ANCHOR_GENERATOR: {OFFSET: 0.5}}", r"ANCHOR_GENERATOR\.OFFSET=0\.5"),
        ("MODEL: {META_ARCHITECTURE: RetinaNet}", r"META_ARCHITECTURE='RetinaNet'"),
        ("MODEL: {KEYPOINT_ON: true}", r"KEYPOINT_ON=True"),
        ("MODELS: 1", r"no such key: MODELS"),
    ],
    ids=["legacy pooler", "samples", "anchors", "architecture", "keypoints", "unknown"],
)
def test_what_is_computed_otherwise_is_refused(
    config: str, message: str, tmp_path: Path, shapes_dir: Path
) -> None:
    with pytest.raises(InvalidSetting, match=message):
        Detectron2Backend().load(configured(tmp_path, shapes_dir, config))


def test_configuration_that_training_writes_is_read(tmp_path: Path, shapes_dir: Path) -> None:
    """Abridged from a `config.yaml` as Detectron2's trainer dumps it."""
    config = """\
CUDNN_BENCHMARK: false
DATASETS: {TRAIN: [my_train], TEST: [my_val]}
INPUT: {FORMAT: RGB, MIN_SIZE_TEST: 640, MAX_SIZE_TEST: 1000, MASK_FORMAT: polygon}
MODEL:
  ANCHOR_GENERATOR:
    ANGLES: [[-90, 0, 90]]
    ASPECT_RATIOS: [[0.5, 1.0, 2.0]]
    SIZES: [[16], [32], [64], [128], [256]]
  MASK_ON: true
  PIXEL_MEAN: [123.675, 116.28, 103.53]
  PIXEL_STD: [58.395, 57.12, 57.375]
  ROI_HEADS: {NUM_CLASSES: 6, NMS_THRESH_TEST: 0.4}
SOLVER: {BASE_LR: 0.02}
TEST: {DETECTIONS_PER_IMAGE: 30, AUG: {ENABLED: false}}
VERSION: 2
"""
    folder = Detectron2Backend().read(configured(tmp_path, shapes_dir, config))
    assert not folder.problems
    assert list(folder.config.anchor_sizes) == [16, 32, 64, 128, 256]
    assert (folder.config.short_edge, folder.config.long_edge) == (640, 1000)
    assert folder.config.rgb_mean == (123.675, 116.28, 103.53)
    assert folder.config.detections == 30
    assert "INPUT.FORMAT=RGB" in folder.facts["from config.yaml"]


def test_means_are_in_the_order_of_the_format(shapes_dir: Path) -> None:
    folder = Detectron2Backend().read(ModelConfig(model_dir=shapes_dir))
    assert folder.config.rgb_mean == (123.675, 116.28, 103.53)
    assert folder.config.rgb_std == (58.395, 57.12, 57.375)


def test_a_number_of_classes_that_the_weights_do_not_have_is_a_problem(
    tmp_path: Path, shapes_dir: Path
) -> None:
    config = configured(tmp_path, shapes_dir, "MODEL: {ROI_HEADS: {NUM_CLASSES: 80}}")
    with pytest.raises(
        InvalidModel, match=r"NUM_CLASSES is configured as 80, but the weights have 6"
    ):
        Detectron2Backend().load(config)


def test_the_final_model_is_served_not_a_step(tmp_path: Path) -> None:
    for name in ("model_0004999.pth", "model_final.pth", "model_0009999.pth"):
        (tmp_path / name).touch()
    assert FILES.newest(tmp_path)[0].path.name == "model_final.pth"
    (tmp_path / "model_final.pth").unlink()
    assert FILES.newest(tmp_path)[0].step == 9999


def test_rgb_networks_get_rgb(
    tmp_path: Path, shapes_dir: Path, shapes_model: Model, photograph: Callable[[str], Image]
) -> None:
    """A network for RGB with conv0 turned round is the network for BGR."""
    values = dict(np.load(shapes_dir / "model.npz"))
    stem = "backbone.bottom_up.stem.conv1.weight"
    values[stem] = values[stem][:, ::-1]
    np.savez(tmp_path / "model.npz", allow_pickle=False, **values)
    config = (shapes_dir / "config.yaml").read_text()
    config = config.replace("[57.375, 57.12, 58.395]", "[58.395, 57.12, 57.375]")
    mean = "  PIXEL_MEAN: [123.675, 116.28, 103.53]\n"
    config = config.replace("INPUT:\n", "INPUT:\n  FORMAT: RGB\n")
    (tmp_path / "config.yaml").write_text(config.replace("MODEL:\n", f"MODEL:\n{mean}"))
    model = Detectron2Backend().load(ModelConfig(model_dir=tmp_path))
    image = photograph("demo/golden/shapes-9500000.png")
    (turned,) = model.predict([image], PredictOptions(score_threshold=0.05))
    (usual,) = shapes_model.predict([image], PredictOptions(score_threshold=0.05))
    np.testing.assert_allclose(turned.boxes, usual.boxes, atol=1e-3)
    np.testing.assert_allclose(turned.scores, usual.scores, atol=1e-5)
    model.close()


def test_a_converted_checkpoint_keeps_its_names(shapes_dir: Path, tmp_path: Path) -> None:
    """So that no backend takes it for what it is not."""
    config = ModelConfig(model_dir=shapes_dir)
    assert set(Detectron2Backend().converters()) == {"npz", "npz16"}
    Detectron2Backend().converters()["npz"](config, tmp_path / "out")
    written, original = (np.load(folder / "model.npz") for folder in (tmp_path / "out", shapes_dir))
    assert set(written.files) == set(original.files)
    for name in original.files:
        np.testing.assert_array_equal(written[name], original[name])
    configs = [
        Detectron2Backend().read(ModelConfig(model_dir=folder)).config
        for folder in (tmp_path / "out", shapes_dir)
    ]
    assert configs[0] == configs[1]
