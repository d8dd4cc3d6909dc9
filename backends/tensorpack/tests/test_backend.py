from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_server.agreement import compare
from maskrcnn_server.backend import Image, Model, ModelConfig, PredictOptions
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_tensorpack.backend import TensorPackBackend

ALL = PredictOptions(score_threshold=0.05)


def test_float32_checkpoint_of_tensorflow_gives_what_the_npz_gives(
    demo_dir: Path, demo_model: Model, photograph: Callable[[str], Image], tmp_path: Path
) -> None:
    """The real writer's V2 checkpoint, with the variables a training run leaves in it."""
    weights = dict(np.load(demo_dir / "model-6770.npz"))
    write_checkpoint(tmp_path / "model-6770", {n: v.astype(np.float32) for n, v in weights.items()})
    (tmp_path / "config.yaml").write_bytes((demo_dir / "config.yaml").read_bytes())
    model = TensorPackBackend().load(ModelConfig(model_dir=tmp_path))
    image = photograph("demo/golden/shapes-9500003.png")
    (found,), (expected,) = (m.predict([image], ALL) for m in (model, demo_model))
    result = compare(found, expected, box_tolerance=0.001)
    assert len(result.pairs) == len(expected) == len(found) > 9
    model.close()


def test_threshold_below_the_frameworks_floor_is_honoured(
    demo_model: Model, photograph: Callable[[str], Image]
) -> None:
    image = photograph("demo/golden/shapes-9500003.png")
    (found,) = demo_model.predict([image], PredictOptions(score_threshold=0.01))
    assert 0.01 <= found.scores.min() < 0.05


def test_configured_threshold_is_the_default(demo_dir: Path) -> None:
    backend = TensorPackBackend()
    key = "TEST.RESULT_SCORE_THRESH_VIS"
    plain = backend.load(ModelConfig(model_dir=demo_dir))
    configured = backend.load(ModelConfig(model_dir=demo_dir, overrides={key: "0.3"}))
    asked = backend.load(
        ModelConfig(model_dir=demo_dir, overrides={key: "0.3"}, score_threshold=0.7)
    )
    thresholds = [model.metadata.score_threshold for model in (plain, configured, asked)]
    assert thresholds == [0.5, 0.3, 0.7]


def test_detections_per_image_can_be_configured(demo_dir: Path) -> None:
    config = ModelConfig(model_dir=demo_dir, overrides={"TEST.RESULTS_PER_IM": "3"})
    model = TensorPackBackend().load(config)
    image = np.random.RandomState(0).randint(0, 256, (100, 100, 3), np.uint8)
    (found,) = model.predict([image], PredictOptions(score_threshold=0.0))
    assert len(found) == 3


def test_other_architecture_than_expected_is_refused(demo_dir: Path) -> None:
    with pytest.raises(InvalidModel, match=r"RESNET_ARCH is resnet50, but .* resnet-1-1-1-1"):
        TensorPackBackend().load(ModelConfig(model_dir=demo_dir, resnet_arch="resnet50"))


def test_unknown_key_is_refused_with_the_nearest(demo_dir: Path) -> None:
    overrides = {"TEST.RESULT_PER_IM": "3"}
    with pytest.raises(InvalidSetting, match=r"TEST\.RESULT_PER_IM; .* TEST\.RESULTS_PER_IM"):
        TensorPackBackend().load(ModelConfig(model_dir=demo_dir, overrides=overrides))


def test_empty_folder_is_no_model(tmp_path: Path) -> None:
    assert TensorPackBackend().probe(ModelConfig(model_dir=tmp_path)) is None
    with pytest.raises(InvalidModel, match="the folder contains nothing"):
        TensorPackBackend().load(ModelConfig(model_dir=tmp_path))


def test_closed_model_says_so(demo_dir: Path) -> None:
    model = TensorPackBackend().load(ModelConfig(model_dir=demo_dir))
    model.close()
    with pytest.raises(RuntimeError, match="closed"):
        model.predict([np.zeros((9, 9, 3), np.uint8)], ALL)


def write_checkpoint(prefix: Path, variables: dict[str, np.ndarray]) -> None:
    import tensorflow as tf

    extra = {
        "global_step": np.int64(6770),
        "learning_rate": np.float32(0.01),
        "conv0/W/Momentum": np.zeros((7, 7, 3, 64), np.float32),
    }
    names = [*variables, *extra]
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(value) for value in [*variables.values(), *extra.values()]],
    )
