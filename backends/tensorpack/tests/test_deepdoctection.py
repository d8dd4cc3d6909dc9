"""deepdoctection's own outputs of thin networks, reproduced by every engine in float32."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import thin
import yaml
from _pytest.mark.structures import ParameterSet
from golden import assert_reproduced, on_engines
from numpy.typing import NDArray

from maskrcnn_aws_samples.backend import AwsSamplesBackend
from maskrcnn_network.model import NetworkModel
from maskrcnn_network.testing.networks import small_network
from maskrcnn_server.backend import Image, Model, ModelConfig, PredictOptions
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_server.plugins import installed
from maskrcnn_tensorpack.backend import TensorPackBackend

Variables = Mapping[str, NDArray[np.float32]]

KINDS = ("resnet", "resnext")
SCORE_TOLERANCE = 2e-4
CONFIGURATION = "conf_frcnn_layout.yaml"
ALL = PredictOptions(score_threshold=0.1)


def cases() -> Iterator[ParameterSet]:
    """Two kinds on every engine; the third, whose convolutions are theirs, only if asked for."""
    yield from on_engines(KINDS)
    for case in on_engines(["convolutions"]):
        yield pytest.param(*case.values, marks=[pytest.mark.exhaustive]) if case.marks else case


def variables(file: Path) -> Variables:
    """The variables of a golden file, with output channels last, as TensorFlow has them."""
    return {
        name: value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
        for name, value in thin.weights(file).items()
    }


def save(folder: Path, values: Variables, configuration: str) -> Path:
    """Write a model as deepdoctection does, but for the format of its weights."""
    folder.mkdir(exist_ok=True)
    np.savez(folder / "model-800000.npz", allow_pickle=False, **values)
    (folder / CONFIGURATION).write_text(configuration)
    return folder


@pytest.fixture
def file(test_data: Path) -> Path:
    return test_data / "golden/thin/deepdoctection-resnext.npz"


@pytest.fixture
def model_dir(tmp_path: Path, file: Path) -> Path:
    return save(tmp_path / "model", variables(file), thin.config(file))


@pytest.fixture
def model(model_dir: Path) -> Iterator[Model]:
    loaded = TensorPackBackend().load(ModelConfig(model_dir=model_dir))
    yield loaded
    loaded.close()


@pytest.mark.parametrize(("kind", "engine"), [*cases()])
def test_every_kind_of_network_finds_what_deepdoctection_found(
    kind: str,
    engine: str,
    photograph: Callable[[str], Image],
    test_data: Path,
    tmp_path: Path,
) -> None:
    file = test_data / f"golden/thin/deepdoctection-{kind}.npz"
    save(tmp_path, variables(file), thin.config(file))
    model = TensorPackBackend().load(ModelConfig(model_dir=tmp_path, engine=engine))
    assert isinstance(model, NetworkModel)
    rule = model.reading.preparation
    for name in thin.PICTURES:
        image = thin.picture(photograph("images/chelsea.png"), name)
        wanted = thin.outputs(file, name)
        options = PredictOptions(score_threshold=0.1, proposals=True)
        (found,) = model.predict([image], options)
        size = (image.shape[0], image.shape[1])
        scale = rule.box_scale(size, rule.resized_size(size))
        assert_reproduced(wanted, image, found, SCORE_TOLERANCE, scale)
    model.close()


def test_fewer_detections_are_the_best_of_all(
    model: Model, photograph: Callable[[str], Image]
) -> None:
    """What is suppressed across classes does not depend on how many a request wants."""
    image = photograph("images/chelsea.png")
    (every,) = model.predict([image], ALL)
    (few,) = model.predict([image], PredictOptions(score_threshold=0.1, max_detections=20))
    assert len(every) > len(few) == 20
    np.testing.assert_allclose(few.boxes, every.boxes[:20], atol=1e-3)


def test_what_deepdoctection_answers_is_the_default(model: Model) -> None:
    assert model.metadata.score_threshold == 0.1
    assert "BACKBONE.TF_PAD_MODE=False" in model.metadata.facts[f"from {CONFIGURATION}"]
    assert "OUTPUT.NMS_THRESH_CLASS_AGNOSTIC=0.3" in model.metadata.facts[f"from {CONFIGURATION}"]
    assert model.metadata.facts["architecture"].startswith("resnext-1-1-1-1_32x4d, FPN of 32")


def test_the_environment_and_config_yaml_count_more(model_dir: Path) -> None:
    (model_dir / "config.yaml").write_text("OUTPUT: {RESULTS_PER_IM: 7}\nRPN.MIN_SIZE: 2\n")
    overrides = {"RPN.MIN_SIZE": "3"}
    read = TensorPackBackend().read(ModelConfig(model_dir=model_dir, overrides=overrides))
    assert not read.problems
    assert (read.config.detections, read.config.min_size, read.config.short_edge) == (7, 3, 150)
    assert not any("not read" in note for note in read.notes)


def test_a_converted_model_needs_no_other_configuration(model_dir: Path, tmp_path: Path) -> None:
    backend = TensorPackBackend()
    backend.converters()["npz"](ModelConfig(model_dir=model_dir), tmp_path / "out")
    ours, theirs = (backend.read(ModelConfig(model_dir=d)) for d in (tmp_path / "out", model_dir))
    assert ours.config == theirs.config
    assert not ours.problems
    assert not (tmp_path / "out" / CONFIGURATION).exists()


@pytest.mark.full
def test_a_network_exported_to_onnx_finds_the_same(
    model: Model, model_dir: Path, photograph: Callable[[str], Image], tmp_path: Path
) -> None:
    TensorPackBackend().exporters()["onnx"](ModelConfig(model_dir=model_dir), tmp_path / "onnx")
    exported = installed().backends()["onnx"].load(ModelConfig(model_dir=tmp_path / "onnx"))
    image = photograph("images/chelsea.png")
    (found,), (wanted,) = (m.predict([image], ALL) for m in (exported, model))
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.01)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    np.testing.assert_array_equal(found.category_ids, wanted.category_ids)


@pytest.mark.full
def test_class_names_of_the_published_models_are_known(file: Path, tmp_path: Path) -> None:
    """The names of their files, TensorFlow's V2 checkpoints, tell the classes."""
    two = {n: v[..., :3] if "outputs/class" in n else v for n, v in variables(file).items()}
    source = save(tmp_path / "source", two, thin.config(file))
    backend, published = TensorPackBackend(), tmp_path / "published"
    backend.converters()["checkpoint"](ModelConfig(model_dir=source), published)
    for path in published.glob("model-800000.*"):
        path.rename(published / path.name.replace("800000", "1620000_inf_only"))
    read = backend.read(ModelConfig(model_dir=published))
    assert not read.problems
    assert [category.name for category in read.categories] == ["row", "column"]


def test_without_its_configuration_a_network_is_refused(tmp_path: Path) -> None:
    network, values = small_network("deepdoctection")
    np.savez(tmp_path / "model-10.npz", allow_pickle=False, **values)
    folder = ModelConfig(model_dir=tmp_path)
    for backend in (TensorPackBackend(), AwsSamplesBackend()):
        probe = backend.probe(folder)
        assert probe is not None
        resnext, pyramid = probe.problems
        assert f"the weights have a {network.architecture.name}, which only" in resnext
        assert "put its conf_frcnn_*.yaml next to the checkpoint" in resnext
        assert "group normalisation and without biases, which only deepdoctection has" in pyramid


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("c4", "the weights have no feature pyramid"),
        ("group_norm", "the weights have a pyramid with biases, which deepdoctection's code"),
        ("fpn", "the weights have a mask head, which deepdoctection's code cannot run"),
    ],
)
def test_what_its_code_cannot_run_is_refused(
    kind: str, problem: str, file: Path, tmp_path: Path
) -> None:
    folder = save(tmp_path / "model", small_network(kind).variables, thin.config(file))
    found = TensorPackBackend().probe(ModelConfig(model_dir=folder))
    assert found is not None
    assert problem in "; ".join(found.problems)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("OUTPUT.NMS_THRESH_CLASS_AGNOSTIC", None, "OUTPUT.NMS_THRESH_CLASS_AGNOSTIC missing"),
        ("BACKBONE.BOTTLENECK", "resnet", "BACKBONE.BOTTLENECK is configured as resnet, but"),
        ("BACKBONE.BOTTLENECK", "senet", "BACKBONE.BOTTLENECK='senet': Input should be 'resnet'"),
        ("MODE_MASK", True, "MODE_MASK is configured as True, but the weights have False"),
        ("FPN.CASCADE", False, "FPN.CASCADE is configured as False, but the weights have True"),
    ],
)
def test_what_cannot_be_right_is_refused(
    key: str, value: object, problem: str, file: Path, tmp_path: Path
) -> None:
    tree = yaml.unsafe_load(thin.config(file))
    section, _, leaf = key.rpartition(".")
    place = tree[section] if section else tree
    place[leaf] = value
    if value is None:
        del place[leaf]
    folder = save(tmp_path / "model", variables(file), yaml.dump(tree))
    found = TensorPackBackend().probe(ModelConfig(model_dir=folder))
    assert found is not None
    assert problem in "; ".join(found.problems)


def test_two_configurations_are_refused(model_dir: Path) -> None:
    (model_dir / "conf_frcnn_rows.yaml").write_text("TAG: other\n")
    with pytest.raises(InvalidModel, match=r"several configurations .*layout.yaml, .*rows.yaml"):
        TensorPackBackend().load(ModelConfig(model_dir=model_dir))


def test_tensorpacks_own_code_is_not_asked(model_dir: Path, tmp_path: Path) -> None:
    config = ModelConfig(model_dir=model_dir, engine="original", original=tmp_path)
    with pytest.raises(InvalidSetting, match="runs TensorPack's own code, but the model is deepd"):
        TensorPackBackend().load(config)
