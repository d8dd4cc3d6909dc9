"""Safetensors' files as the library (0.8) writes them, and as hostile people do.

`state_dicts/tensors.safetensors` was written by `safetensors.torch.save_file`.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_network.checkpoints.safetensors import MAX_HEADER_BYTES, Safetensors
from maskrcnn_server.errors import InvalidModel

FILES = Path(__file__).parent / "state_dicts"


def test_every_floating_point_tensor_is_read_as_float32() -> None:
    expected = np.load(FILES / "safetensors.expected.npz")
    found = Safetensors(FILES / "tensors.safetensors")
    assert set(found.shapes) == set(expected.files)
    for name in set(expected.files) - {"int64"}:
        values = found.read(name)
        assert values.dtype == np.float32
        assert values.shape == found.shapes[name] == expected[name].shape
        np.testing.assert_array_equal(values, expected[name])


def test_integers_are_no_weights() -> None:
    with pytest.raises(InvalidModel, match="int64 is I64, not floating-point"):
        Safetensors(FILES / "tensors.safetensors").read("int64")


def written(folder: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = (len(text) if length is None else length).to_bytes(8, "little")
    (folder / "model.safetensors").write_bytes(size + text + data)
    return folder / "model.safetensors"


def entry(
    shape: object = (1,), offsets: object = (0, 4), dtype: object = "F32"
) -> dict[str, dict[str, object]]:
    return {"a.weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def test_metadata_is_no_tensor(tmp_path: Path) -> None:
    path = written(tmp_path, {"__metadata__": {"format": "pt"}, **entry()}, b"\0\0\x80\x3f")
    assert Safetensors(path).read("a.weight").tolist() == [1.0]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (entry(offsets=(0, 8)), "is not where its data_offsets say"),
        (entry(offsets=(-4, 0)), "is not where its data_offsets say"),
        (entry(offsets=(4, 0)), "is not where its data_offsets say"),
        (entry(offsets=(4, 8)), "is not where its data_offsets say"),
        (entry(shape=(2,)), "is not where its data_offsets say"),
        (entry(offsets=(0, 1 << 70)), "is not where its data_offsets say"),
        (entry(shape=(-1,)), "impossible shape"),
        (entry(shape=("1",)), "impossible shape"),
        (entry(shape=(1 << 60,)), "impossible shape"),
        (entry(shape=(1 << 20,) * 9), "too large"),
        (entry(shape=7), "has no dtype, shape and data_offsets"),
        (entry(offsets=(0.0, 4)), "has no dtype, shape and data_offsets"),
        (entry(offsets=(0,)), "has no dtype, shape and data_offsets"),
        (entry(dtype="F4"), "is 'F4', which is not known"),
        (entry(dtype=4), "has no dtype, shape and data_offsets"),
        ({"a.weight": 1}, "has no dtype, shape and data_offsets"),
        ([], "is not an object"),
        (b'{"a": ', "line 1"),
        (b'{"a": \xff}', "utf-8"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_a_file_that_says_nonsense_is_refused(header: object, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="not a file in safetensors' format") as caught:
        Safetensors(written(tmp_path, header, b"\0" * 4))
    assert reason in caught.value.message


@pytest.mark.parametrize("length", [MAX_HEADER_BYTES + 1, 1 << 63, 10_000])
def test_a_header_that_is_not_there_is_not_read(length: int, tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="its header is"):
        Safetensors(written(tmp_path, entry(), length=length))


def test_a_file_that_shrinks_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, entry(), bytes(4))
    found = Safetensors(path)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(InvalidModel, match=r"a\.weight is cut off"):
        found.read("a.weight")
