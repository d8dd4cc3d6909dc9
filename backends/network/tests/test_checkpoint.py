from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskrcnn_network.checkpoints.checkpoint import TENSORFLOW, Npz
from maskrcnn_network.checkpoints.tensor_bundle import TensorBundle
from maskrcnn_server.errors import InvalidModel

VALUES: dict[str, NDArray[Any]] = {
    "conv0/W": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "group0/half": np.array([1.5, -2.0], np.float16),
    "rpn/double": np.array(3.25, np.float64),
    "scope/with/no/elements": np.zeros((0, 3), np.float32),
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """An index that TensorFlow itself wrote, of more variables than fit in one block."""
    import tensorflow as tf

    many = {f"v/{i:04d}": np.float32(i) for i in range(2000)}
    values = {**VALUES, **many, "global_step": np.int64(7)}
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "model-7"),
        tensor_names=list(values),
        shape_and_slices=[""] * len(values),
        tensors=[tf.constant(value) for value in values.values()],
    )
    return tmp_path / "model-7.index"


def test_every_variable_that_tensorflow_wrote_is_read(bundle: Path) -> None:
    checkpoint = TensorBundle(bundle)
    assert len(checkpoint.shapes) == 2000 + len(VALUES) + 1
    for name, value in VALUES.items():
        assert checkpoint.shapes[name] == value.shape
        np.testing.assert_array_equal(checkpoint.read(name), value.astype(np.float32))
    assert checkpoint.read("v/1999") == 1999


def test_integer_variable_is_listed_but_not_read(bundle: Path) -> None:
    checkpoint = TensorBundle(bundle)
    assert checkpoint.shapes["global_step"] == ()
    with pytest.raises(InvalidModel, match="global_step is not a floating-point variable"):
        checkpoint.read("global_step")


def test_changed_byte_in_the_data_is_noticed(bundle: Path) -> None:
    data = bundle.with_suffix(".data-00000-of-00001")
    content = bytearray(data.read_bytes())
    content[TensorBundle(bundle).entries["conv0/W"].offset] ^= 1
    data.write_bytes(content)
    with pytest.raises(InvalidModel, match=r"conv0/W is damaged \(checksum\)"):
        TensorBundle(bundle).read("conv0/W")


def test_truncated_data_is_noticed_at_once(bundle: Path) -> None:
    data = bundle.with_suffix(".data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(InvalidModel, match=r"truncated: .* bytes instead of"):
        TensorBundle(bundle)


def test_missing_data_is_noticed_at_once(bundle: Path) -> None:
    bundle.with_suffix(".data-00000-of-00001").unlink()
    with pytest.raises(InvalidModel, match="data-00000-of-00001: missing"):
        TensorBundle(bundle)


@pytest.mark.parametrize("keep", [0, 10, 47, 48, 1000], ids=str)
def test_truncated_index_is_refused(bundle: Path, keep: int) -> None:
    content = bundle.read_bytes()
    bundle.write_bytes(content[:keep])
    with pytest.raises(InvalidModel, match=r"not the index|is empty"):
        TensorBundle(bundle)


def test_no_flipped_byte_of_the_index_does_more_than_raise(bundle: Path) -> None:
    content = bundle.read_bytes()
    for at in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[at] ^= 0xFF
        bundle.write_bytes(damaged)
        try:
            TensorBundle(bundle)
        except InvalidModel:
            continue


@pytest.mark.parametrize("suffix", ["", ":0"], ids=["plain", "with :0"])
def test_npz_is_read_with_names_of_either_kind(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "model.npz"
    np.savez(path, allow_pickle=False, **{name + suffix: v for name, v in VALUES.items()})
    checkpoint = TENSORFLOW.open(path)
    assert set(checkpoint.shapes) == set(VALUES)
    for name, value in VALUES.items():
        assert checkpoint.shapes[name] == value.shape
        np.testing.assert_array_equal(checkpoint.read(name), value.astype(np.float32))


def test_npz_is_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    np.savez(path, allow_pickle=True, x=np.array([print], object))
    with pytest.raises(InvalidModel, match="never unpickled"):
        Npz(path)


def test_integers_in_an_npz_are_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    np.savez(path, allow_pickle=False, x=np.array([1]))
    with pytest.raises(InvalidModel, match="x is int64"):
        Npz(path).read("x")


@pytest.mark.parametrize("keep", [0, 3, 200], ids=str)
def test_truncated_npz_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "model.npz"
    np.savez(path, allow_pickle=False, **VALUES)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InvalidModel, match=r"not an \.npz file|is empty|is cut off"):
        Npz(path)


def test_newest_is_the_largest_number_not_the_last_name(tmp_path: Path) -> None:
    for name in ("model-90000.index", "model-180000.index", "model-5.npz", "pretrained.npz"):
        (tmp_path / name).touch()
    assert TENSORFLOW.newest(tmp_path)[0].path.name == "model-180000.index"
    assert [found.step for found in TENSORFLOW.find(tmp_path)] == [None, 5, 90000, 180000]


def test_several_without_a_number_are_not_guessed_between(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        (tmp_path / name).touch()
    with pytest.raises(
        InvalidModel, match=r"without a step number; keep only one of: a\.npz, b\.npz"
    ):
        TENSORFLOW.newest(tmp_path)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="nowhere: no such folder"):
        TENSORFLOW.newest(tmp_path / "nowhere")


def test_step_is_the_last_number_of_a_name(tmp_path: Path) -> None:
    for name in ("2024-05-01-model-100.npz", "2024-03-09-model-200.npz"):
        (tmp_path / name).touch()
    assert TENSORFLOW.newest(tmp_path)[0].path.name == "2024-03-09-model-200.npz"


def test_several_of_one_step_are_not_guessed_between(tmp_path: Path) -> None:
    for name in ("model-100.npz", "model-100-fp16.npz"):
        (tmp_path / name).touch()
    with pytest.raises(
        InvalidModel, match=r"of step 100; keep only one of: model-100-fp16\.npz, model"
    ):
        TENSORFLOW.newest(tmp_path)
