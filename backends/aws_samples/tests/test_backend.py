from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from shapes import tally

from maskrcnn_aws_samples.backend import AwsSamplesBackend
from maskrcnn_server.agreement import compare
from maskrcnn_server.backend import Image, Model, ModelConfig, PredictOptions
from maskrcnn_server.errors import ImageTooLarge, InvalidModel, InvalidSetting

ALL = PredictOptions(score_threshold=0.05)


def test_shapes_are_found(
    shapes_model: Model, photograph: Callable[[str], Image], test_data: Path
) -> None:
    """Of the objects drawn in twenty pictures, 0.8 are found in place and with their class, though
    the model was trained as TensorPack's, with another RoIAlign."""
    counted = tally(shapes_model, photograph, test_data)
    assert counted.hits >= 0.8 * counted.drawn
    assert counted.found <= 2 * counted.drawn


@pytest.mark.full
def test_full_size_images_get_together_what_they_get_alone(
    seeded_weights: Callable[[str, str], Path], photograph: Callable[[str], Image]
) -> None:
    """Two of one padded size, one of another."""
    model_dir = seeded_weights("resnet50", "aws_samples")
    model = AwsSamplesBackend().load(ModelConfig(model_dir=model_dir))
    chelsea, astronaut = photograph("images/chelsea.png"), photograph("images/astronaut.png")
    images = [chelsea, astronaut, np.ascontiguousarray(chelsea[:, ::-1])]
    for image, found in zip(images, model.predict(images, ALL), strict=True):
        (alone,) = model.predict([image], ALL)
        result = compare(found, alone, box_tolerance=0.05)
        assert len(result.pairs) == len(found) == len(alone)
        assert result.score_differences.max(initial=0) < 1e-4
    model.close()


def test_box_without_area_costs_no_other_detection(
    demo_dir: Path, photograph: Callable[[str], Image]
) -> None:
    """In a strip of nine columns, some boxes lie beyond the border and are clipped to nothing."""
    image = np.ascontiguousarray(photograph("images/chelsea.png")[:, :9])
    model = AwsSamplesBackend().load(ModelConfig(model_dir=demo_dir, options={"variant": "tf1"}))
    (found,) = model.predict([image], PredictOptions(score_threshold=0.0))
    model.close()
    assert len(found) == 100
    assert found.masks is not None
    areas = [mask.area for mask in found.masks.rle("rows")]
    sides = (found.boxes[:, 2:] - found.boxes[:, :2]).min(axis=1)
    assert (sides == 0).any(), "the picture shows nothing without such a box"
    assert all(area == 0 for area, side in zip(areas, sides, strict=True) if side == 0)
    assert sum(area > 0 for area in areas) > 50


def test_old_containers_threshold_is_the_default_and_exact(shapes_dir: Path) -> None:
    model = AwsSamplesBackend().load(ModelConfig(model_dir=shapes_dir))
    assert model.metadata.score_threshold == 0.8


def test_checkpoint_of_the_other_framework_is_recognised_and_refused(
    demo_dir: Path, shapes_dir: Path, tmp_path: Path
) -> None:
    from maskrcnn_tensorpack.backend import TensorPackBackend

    (tmp_path / "model.npz").symlink_to(shapes_dir / "model-6770.npz")
    for backend, folder in ((AwsSamplesBackend(), demo_dir), (TensorPackBackend(), tmp_path)):
        with pytest.raises(InvalidModel, match=r"rows of fastrcnn/fc6/W are channel"):
            backend.load(ModelConfig(model_dir=folder))


def test_variant_reads_rows_of_the_older_branch(
    demo_dir: Path, shapes_model: Model, photograph: Callable[[str], Image]
) -> None:
    keys = ("RPN.TEST_PER_LEVEL_POST_NMS_TOPK", "RPN.TEST_IMAGE_POST_NMS_TOPK")
    config = ModelConfig(
        model_dir=demo_dir, options={"variant": "tf1"}, overrides=dict.fromkeys(keys, "200")
    )
    older = AwsSamplesBackend().load(config)
    image = photograph("demo/golden/shapes-9500003.png")
    (found,), (expected,) = (model.predict([image], ALL) for model in (older, shapes_model))
    assert len(compare(found, expected, box_tolerance=0.001).pairs) == len(expected) > 9
    older.close()


def test_images_can_go_in_as_they_are(shapes_dir: Path, photograph: Callable[[str], Image]) -> None:
    config = ModelConfig(model_dir=shapes_dir, options={"resize": "false"})
    probe = AwsSamplesBackend().probe(config)
    assert probe is not None
    assert probe.facts["resize"] == "none"
    model = AwsSamplesBackend().load(config)
    image = photograph("demo/golden/shapes-9500003.png")
    (found,) = model.predict([image], ALL)
    assert found.size == image.shape[:2]
    assert len(found) > 9
    with pytest.raises(ImageTooLarge, match="does not resize images"):
        model.predict([np.zeros((2001, 2000, 3), np.uint8)], ALL)
    model.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "tf3"}, "AWS_SAMPLES_VARIANT=tf3: Input should be 'tf2' or 'tf1'"),
        ({"resize": "perhaps"}, "AWS_SAMPLES_RESIZE=perhaps: .* valid boolean"),
        ({"varient": "tf1"}, "AWS_SAMPLES_VARIENT=tf1: Extra inputs are not permitted"),
    ],
    ids=["value", "type", "name"],
)
def test_bad_option_is_named_with_its_rule(
    shapes_dir: Path, options: dict[str, str], message: str
) -> None:
    config = ModelConfig(model_dir=shapes_dir, options=options)
    with pytest.raises(InvalidSetting, match=message):
        AwsSamplesBackend().load(config)
    probe = AwsSamplesBackend().probe(config)
    assert probe is not None
    assert probe.problems
