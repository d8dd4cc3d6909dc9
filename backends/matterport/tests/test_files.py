"""Files of weights: those that Keras writes, and those that are refused."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from matterport_small import CONFIG, small_layers
from matterport_weights import Layers, write

from maskrcnn_matterport.backend import MatterportBackend
from maskrcnn_matterport.keras_file import KerasFile
from maskrcnn_server.backend import ModelConfig, Probe
from maskrcnn_server.errors import InvalidModel

NAME = "mask_rcnn_small_0003.h5"


def probe(folder: Path) -> Probe | None:
    return MatterportBackend().probe(ModelConfig(model_dir=folder))


def problem(folder: Path) -> str:
    found = probe(folder)
    assert found is not None
    return "\n".join(found.problems)


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[Callable[[Layers], object]], Path]:
    """Writes the small network after a change."""

    def make(change: Callable[[Layers], object]) -> Path:
        made = small_layers()
        change(made)
        write(tmp_path / NAME, made)
        (tmp_path / "config.yaml").write_text(CONFIG)
        return tmp_path

    return make


def test_a_file_of_model_save_has_its_weights_in_a_group(tmp_path: Path) -> None:
    write(tmp_path / NAME, small_layers(), "/model_weights")
    found = probe(tmp_path)
    assert found is not None
    assert not found.problems
    assert found.facts["step"] == "3"


def test_weights_go_by_their_order_and_not_by_their_names(small_dir: Path) -> None:
    """The small network calls them `conv1/0:0` and so on, as other versions have other names."""
    file = KerasFile(small_dir / NAME)
    assert file.shapes["conv1/kernel"] == (7, 7, 3, 8)
    assert file.shapes["rpn_model/rpn_bbox_pred/bias"] == (12,)


def test_names_of_layers_may_be_cut_into_several_attributes(
    changed: Callable[[Callable[[Layers], object]], Path],
) -> None:
    folder = changed(lambda _: None)
    with h5py.File(folder / NAME, "a") as file:
        names = file.attrs.pop("layer_names")
        file.attrs["layer_names0"], file.attrs["layer_names1"] = names[:9], names[9:]
    assert problem(folder) == ""


def test_of_several_epochs_the_last_counts(small_dir: Path, tmp_path: Path) -> None:
    for name in ("mask_rcnn_small_0010.h5", "mask_rcnn_small_0009.h5", "mask_rcnn_coco.h5"):
        (tmp_path / name).symlink_to(small_dir / NAME)
    found = probe(tmp_path)
    assert found is not None
    assert found.facts["checkpoint"] == "mask_rcnn_small_0010.h5"


def test_a_missing_layer_is_named(changed: Callable[[Callable[[Layers], object]], Path]) -> None:
    """Keras would leave it at random."""
    assert "fpn/lateral_1x1_c5/W" in problem(changed(lambda made: made.pop("fpn_c5p5")))


def test_other_input_channels_are_refused(
    changed: Callable[[Callable[[Layers], object]], Path],
) -> None:
    def four(made: Layers) -> None:
        made["conv1"][0] = made["conv1"][0][0], np.zeros((7, 7, 4, 8), np.float32)

    assert "conv0/W is (7, 7, 4, 8), expected (7, 7, 3, 8)" in problem(changed(four))


def test_a_callable_backbone_is_refused(
    changed: Callable[[Callable[[Layers], object]], Path],
) -> None:
    def other(made: Layers) -> None:
        for name in [name for name in made if name.startswith(("res", "bn", "conv1"))]:
            made[f"my_{name}"] = made.pop(name)

    assert "BACKBONE was a function, and only resnet50 and resnet101" in problem(changed(other))


def test_another_network_of_keras_is_none_of_ours(tmp_path: Path) -> None:
    write(tmp_path / "vgg.h5", {"block1_conv1": [("k", np.zeros((3, 3, 3, 64), np.float32))]})
    assert probe(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n" + bytes(64), b"no HDF5 at all"])
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(content)
    found = probe(tmp_path)
    assert found is None or found.problems


def _outside(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["conv1/conv1/1:0"]
        external = [(str(path.with_name("other")), 0, 32)]
        file.create_dataset("conv1/conv1/1:0", (8,), "<f4", external=external)


def _linked(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["conv1/conv1/1:0"]
        file["conv1/conv1/1:0"] = h5py.ExternalLink("other.h5", "/secret")


def _compressed(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["conv1/conv1/1:0"]
        shape = 1 << 32, 8
        file.create_dataset("conv1/conv1/1:0", shape, "<f4", chunks=(1 << 16, 8), compression=9)


@pytest.mark.parametrize("spoil", [_outside, _linked, _compressed])
def test_weights_that_are_not_in_the_file_as_they_are_are_refused(
    spoil: Callable[[Path], None], small_dir: Path, tmp_path: Path
) -> None:
    path = tmp_path / NAME
    path.write_bytes((small_dir / NAME).read_bytes())
    spoil(path)
    with pytest.raises(InvalidModel, match=r"not an array|missing|compressed"):
        KerasFile(path)


def test_a_converted_checkpoint_keeps_its_names(small_dir: Path, tmp_path: Path) -> None:
    backend, config = MatterportBackend(), ModelConfig(model_dir=small_dir)
    assert set(backend.converters()) == {"npz", "npz16"}
    backend.converters()["npz"](config, tmp_path / "out")
    before, after = (
        backend.read(ModelConfig(model_dir=folder)).variables()
        for folder in (small_dir, tmp_path / "out")
    )
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
