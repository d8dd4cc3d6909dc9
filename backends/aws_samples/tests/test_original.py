"""The engine `original`, with a stand-in for the framework's code."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from maskrcnn_aws_samples.backend import AwsSamplesBackend
from maskrcnn_aws_samples.original import ORIGINAL, settings
from maskrcnn_server.backend import Image, ModelConfig, PredictOptions
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_server.settings import backend_options
from maskrcnn_server.trace import Traces
from maskrcnn_study.verification import first_difference, verify

pytestmark = pytest.mark.full

STAND_IN = {
    "tensorflow/__init__.py": """
        from types import SimpleNamespace as Node

        config = Node(
            list_physical_devices=lambda kind: [kind],
            experimental=Node(enable_tensor_float_32_execution=print),
        )
    """,
    "tensorpack/__init__.py": "",
    "tensorpack/predict/config.py": "from types import SimpleNamespace as PredictConfig",
    "tensorpack/tfutils/sessinit.py": "def get_model_loader(path): return path",
    "tensorpack/predict/base.py": """
        import numpy as np
        from config import config

        class OfflinePredictor:
            def __init__(self, given):
                assert given.session_init.endswith("model-6770.npz")
                self.sess = self.graph = self

            def get_tensor_by_name(self, name):
                return name

            def run(self, names, feed):
                images, dims = feed["images:0"], feed["orig_image_dims:0"]
                assert (1, *dims[0]) == images.shape
                height, width = images.shape[1:3]
                blue, _, red = images[0, 0, 0]
                box = np.array([[0, 0, width, height]], np.float32)
                values = {
                    "output/batch_indices:0": np.zeros(1, np.int32),
                    "output/boxes:0": box,
                    "output/scores:0": np.array([0.75], np.float32),
                    "output/labels:0": np.array([1 + int(blue > red)]),
                    "output/masks:0": np.ones((1, 28, 28), np.float32),
                    "generate_fpn_proposals/boxes:0": box[None],
                    "fastrcnn_all_scores:0": np.eye(config.DATA.NUM_CLASS)[None, 1:2],
                }
                return [values[n] if n in values else np.zeros((1, 4, 5, 3)) for n in names]
    """,
    "MaskRCNN/config.py": """
        class Tree:
            def __getattr__(self, name):
                setattr(self, name, Tree())
                return getattr(self, name)

            def freeze(self, frozen):
                pass

        config = Tree()
        config.TRAIN.FPN_NCHW = False

        def finalize_configs(is_training):
            assert not is_training
            assert config.TRAIN.NUM_GPUS is None
            assert config.TEST.BATCH_SIZE_PER_GPU == 1
            assert config.DATA.CLASS_NAMES[:2] == ["BG", "circle"]
            config.DATA.NUM_CLASS = config.DATA.NUM_CATEGORY + 1
    """,
    "MaskRCNN/eval.py": """
        from collections import namedtuple
        import numpy as np

        DetectionResult = namedtuple("DetectionResult", "box score class_id mask")

        def predict_image(image, network):
            boxes, scores, labels, *masks = network(image.repeat(2, axis=0).repeat(2, axis=1))
            pasted = [np.ones(image.shape[:2], "uint8")] if masks else [None]
            return [DetectionResult(*r) for r in zip(boxes / 2, scores, labels, pasted)]
    """,
    "MaskRCNN/model/generalized_rcnn.py": """
        import numpy as np
        from turtle import shape
        from MaskRCNN.eval import predict_image
        from config import config

        KIND = np.float

        class ResNetFPNModel:
            def get_inference_tensor_names(self):
                masks = ["output/masks"] if config.MODE_MASK else []
                outputs = [f"output/{n}" for n in "batch_indices boxes scores labels".split()]
                return ["images", "orig_image_dims"], outputs + masks
    """,
}
"""Modules with the names and the interface of the framework's, and of its TensorFlow."""

BLUE = np.full((24, 30, 3), (10, 20, 200), np.uint8)
RED = np.full((24, 30, 3), (200, 20, 10), np.uint8)


@pytest.fixture
def backend() -> AwsSamplesBackend:
    """Whose original code needs no packages."""
    backend = AwsSamplesBackend()
    object.__setattr__(backend, "original", replace(ORIGINAL, packages=()))
    return backend


def checkout(folder: Path) -> Path:
    """The stand-in, as a checkout."""
    for name, text in STAND_IN.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    return folder


def test_without_a_gpu_it_says_what_needs_one(
    backend: AwsSamplesBackend, shapes_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any of the checkout's code runs: its files are empty."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    for name in ORIGINAL.modules:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    config = ModelConfig(
        model_dir=shapes_dir, engine="original", options={"maskrcnn": str(tmp_path)}
    )
    message = r"failed: RuntimeError: it needs a GPU.*tf\.image\.generate_bounding_box_proposals"
    with pytest.raises(InvalidModel, match=message):
        backend.load(config)


def test_what_the_framework_finds_is_answered(
    backend: AwsSamplesBackend, shapes_dir: Path, tmp_path: Path
) -> None:
    config = ModelConfig(model_dir=shapes_dir, engine="original", original=checkout(tmp_path))
    model = backend.load(config)
    (found,) = model.predict([BLUE], PredictOptions())
    assert len(found) == 0, "0.75 is below the default threshold"
    options = PredictOptions(score_threshold=0.5)
    for found, category in zip(model.predict([BLUE, RED], options), (2, 1), strict=True):
        np.testing.assert_array_equal(found.boxes, [[0, 0, 30, 24]])
        assert found.category_ids.tolist() == [category]
        assert found.masks is not None
        assert found.masks.rle("rows")[0].area == 720
    assert isinstance(model, Traces)
    trace = model.trace(BLUE, options)
    np.testing.assert_array_equal(trace.resized, np.full((48, 60, 3), BLUE[0, 0]))
    assert [feature.shape for feature in trace.features] == [(4, 5, 3)] * 5
    assert trace.proposals.tolist() == [[0, 0, 60, 48]]
    assert trace.class_scores.shape == (1, 7)
    assert not {"tensorpack", "config", "eval", "turtle"} & sys.modules.keys()
    model.close()


def test_features_run_channel_last_also_if_the_network_does_not(
    backend: AwsSamplesBackend, shapes_dir: Path, tmp_path: Path
) -> None:
    model = backend.load(
        ModelConfig(
            model_dir=shapes_dir,
            engine="original",
            original=checkout(tmp_path),
            overrides={"TRAIN.FPN_NCHW": "true", "TRAIN.NUM_GPUS": "8"},
        )
    )
    assert isinstance(model, Traces)
    assert model.trace(BLUE, PredictOptions()).features[0].shape == (5, 3, 4)
    model.close()


def test_a_graph_of_another_version_is_named(
    backend: AwsSamplesBackend, shapes_dir: Path, tmp_path: Path
) -> None:
    predictor = checkout(tmp_path) / "tensorpack/predict/base.py"
    predictor.write_text(predictor.read_text().replace("return name", "raise KeyError"))
    with pytest.raises(InvalidModel, match="no tensor images: check the version"):
        backend.load(ModelConfig(model_dir=shapes_dir, engine="original", original=tmp_path))


def test_what_is_missing_is_named(
    backend: AwsSamplesBackend, shapes_dir: Path, tmp_path: Path
) -> None:
    config = ModelConfig(model_dir=shapes_dir, engine="original")
    with pytest.raises(InvalidSetting, match=r"needs a checkout of AWS .*: set AWS_MASKRCNN"):
        backend.load(config)
    with pytest.raises(InvalidSetting, match=r"not a checkout .*: MaskRCNN/config\.py, "):
        backend.load(replace(config, original=tmp_path))
    inside = checkout(tmp_path) / "MaskRCNN"
    with pytest.raises(InvalidSetting, match=r"MaskRCNN: not a checkout .* missing"):
        backend.load(replace(config, original=inside))


def test_the_variable_is_an_option_of_this_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MASKRCNN", "/src/mask-rcnn-tensorflow")
    assert backend_options("aws_samples")["maskrcnn"] == "/src/mask-rcnn-tensorflow"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resize": "false"}, "set AWS_SAMPLES_RESIZE=true"),
        ({"variant": "tf1"}, "AWS_SAMPLES_VARIANT=tf1: .* branch master"),
    ],
    ids=["resize", "variant"],
)
def test_what_the_code_cannot_do_is_refused(
    backend: AwsSamplesBackend,
    shapes_dir: Path,
    demo_dir: Path,
    tmp_path: Path,
    options: dict[str, str],
    message: str,
) -> None:
    config = ModelConfig(
        model_dir=demo_dir if "variant" in options else shapes_dir,
        engine="original",
        original=checkout(tmp_path),
        options=options,
    )
    with pytest.raises(InvalidSetting, match=message):
        backend.load(config)


@pytest.mark.parametrize(
    ("architecture", "blocks"), [("resnet50", [3, 4, 6, 3]), ("resnet101", [3, 4, 23, 3])]
)
def test_architecture_is_said_by_the_frameworks_keys(
    architecture: str, blocks: list[int], seeded_weights: Callable[[str, str], Path]
) -> None:
    model_dir = seeded_weights(architecture, "aws_samples")
    assert settings(AwsSamplesBackend().read(ModelConfig(model_dir=model_dir))) == {
        "MODE_FPN": True,
        "MODE_MASK": True,
        "BACKBONE.RESNET_NUM_BLOCKS": blocks,
        "BACKBONE.NORM": "FreezeBN",
        "FPN.NUM_CHANNEL": 256,
        "FPN.NORM": "None",
        "FPN.BOXCLASS_HEAD_FUNC": "boxclass_2fc_head",
        "FPN.BOXCLASS_CONV_HEAD_DIM": 256,
        "FPN.BOXCLASS_FC_HEAD_DIM": 1024,
        "FPN.MRCNN_HEAD_FUNC": "maskrcnn_up4conv_head",
        "MRCNN.HEAD_DIM": 256,
    }


@pytest.mark.parametrize("variant", ["c4-resnet50", "cascade-resnet50"])
def test_network_that_the_framework_does_not_know_is_refused(
    variant: str, test_data: Path, tmp_path: Path
) -> None:
    """Told by the variables' names and shapes alone."""
    lines = (test_data / f"golden/variants/{variant}/variables.tsv").read_text().splitlines()
    shapes = dict(line.split("\t")[:2] for line in lines)
    values = {
        name: np.zeros([int(n) for n in shape.strip("()").split(",") if n.strip()], np.float32)
        for name, shape in shapes.items()
    }
    np.savez_compressed(tmp_path / "model.npz", allow_pickle=False, **values)
    with pytest.raises(InvalidModel, match="only networks with a feature pyramid and one box head"):
        settings(AwsSamplesBackend().read(ModelConfig(model_dir=tmp_path)))


@pytest.mark.skipif("AWS_MASKRCNN" not in os.environ, reason="AWS_MASKRCNN names no checkout")
def test_stages_are_those_of_the_original(
    seeded_weights: Callable[[str, str], Path], photograph: Callable[[str], Image]
) -> None:
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        pytest.skip("the original's proposals need a GPU")
    config = ModelConfig(model_dir=seeded_weights("resnet50", "aws_samples"))
    options = PredictOptions(score_threshold=0.05)
    ours = AwsSamplesBackend().load(config)
    theirs = AwsSamplesBackend().load(
        replace(config, engine="original", original=Path(os.environ["AWS_MASKRCNN"]))
    )
    assert isinstance(ours, Traces)
    assert isinstance(theirs, Traces)
    for name in ("chelsea", "astronaut"):
        image = photograph(f"images/{name}.png")
        findings = verify(ours.trace(image, options), theirs.trace(image, options))
        assert first_difference(findings) is None
    ours.close()
    theirs.close()
