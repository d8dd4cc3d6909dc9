"""PyTorch's files as PyTorch 2.13, Detectron2's publishing and hostile people write them.

Those in `state_dicts/` were written by `torch.save` and `pickle`; `*.expected.npz` is what they
hold.
"""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrcnn_network.checkpoints.state_dict import StateDict
from maskrcnn_server.errors import InvalidModel

FILES = Path(__file__).parent / "state_dicts"
READABLE = sorted(
    path
    for path in FILES.glob("*.p*")
    if (FILES / f"{path.name.partition('.')[0]}.expected.npz").exists()
    and not path.name.startswith("big_endian")
)
KEYS = {
    "detectron2": "model.",
    "training_checkpoint": "model.",
    "torchvision_training_checkpoint": "model.",
}
"""Keys under which the files keep their tensors."""


@pytest.mark.parametrize("path", READABLE, ids=lambda p: p.name)
def test_every_floating_point_tensor_is_read_exactly(path: Path) -> None:
    expected = np.load(FILES / f"{path.name.partition('.')[0]}.expected.npz")
    found = StateDict(path)
    key = KEYS.get(path.name.partition(".")[0], "")
    floating = {name for name in expected.files if expected[name].dtype.kind == "f"}
    if path.suffix == ".pkl":
        floating -= {"scale"}  # a number, not an array
    assert floating
    for name in floating:
        values = found.read(key + name)
        assert values.dtype == np.float32
        assert found.shapes[key + name] == values.shape
        np.testing.assert_array_equal(values, expected[name].astype(np.float32))


def test_a_plain_dictionary_is_a_state_dict() -> None:
    ordered = StateDict(FILES / "state_dict.zip.pth")
    assert StateDict(FILES / "plain_dict.zip.pth").shapes == ordered.shapes


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_a_whole_module_gives_up_its_tensors_without_its_code(form: str) -> None:
    module = StateDict(FILES / f"module.{form}.pth")
    state_dict = StateDict(FILES / f"module_state_dict.{form}.pth")
    assert module.shapes == state_dict.shapes


def test_integers_are_no_weights() -> None:
    with pytest.raises(InvalidModel, match="int64 is int64, not floating-point"):
        StateDict(FILES / "state_dict.zip.pth").read("int64")


def test_what_pytorch_puts_around_modules_is_taken_off(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": {"module.a.weight": np.ones(2, np.float32)}}))
    assert StateDict(path).shapes == {"model.a.weight": (2,)}


def test_numbers_of_another_byte_order_are_refused() -> None:
    with pytest.raises(InvalidModel, match="big-endian"):
        StateDict(FILES / "big_endian.zip.pth")


@pytest.mark.parametrize(
    "content",
    [{"model": {"a": np.ones(1)}, "loss": np.ones(())}, [{"model": {"a": np.ones(1)}}, {}]],
    ids=["dictionary", "list"],
)
def test_names_begin_with_the_keys_around_them(content: object, tmp_path: Path) -> None:
    assert [n for n in StateDict(hostile(tmp_path, content)).shapes if n.endswith("model.a")]


def test_one_name_for_two_tensors_is_refused(tmp_path: Path) -> None:
    content = {"a.weight": np.ones(1), "module.a.weight": np.zeros(1)}
    with pytest.raises(InvalidModel, match=r"holds a\.weight twice"):
        StateDict(hostile(tmp_path, content))


def test_a_dictionary_within_itself_is_searched_no_longer_than_a_checkpoint(tmp_path: Path) -> None:
    itself: dict[str, object] = {}
    itself |= {str(i): itself for i in range(20)}
    with pytest.raises(InvalidModel, match="takes more work to read"):
        StateDict(hostile(tmp_path, itself))


class Call:
    """Pickled as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


def hostile(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(content))
    return path


@pytest.mark.parametrize("where", ["alone", "among tensors"])
def test_nothing_that_a_pickle_names_is_called(where: str, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    call = Call(os.mkdir, str(touched))
    tensors = {"a": np.ones(1, np.float32), "evil": call}
    path = hostile(tmp_path, call if where == "alone" else tensors)
    if where == "alone":
        with pytest.raises(InvalidModel, match="contains no tensors"):
            StateDict(path)
    else:
        assert StateDict(path).shapes == {"a": (1,)}
    assert not touched.exists()
    pickle.loads(path.read_bytes())  # noqa: S301 (it would have worked)
    assert touched.exists()


def test_a_pickle_cannot_change_what_the_next_one_meets(tmp_path: Path) -> None:
    """BUILD sets attributes; here, defaults of the function that makes tensors."""
    state = b"N}X\x0c\x00\x00\x00__defaults__K\x01\x85s\x86b."
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + state)
    with pytest.raises(InvalidModel, match="no tensors"):
        StateDict(path)
    assert StateDict(FILES / "state_dict.zip.pth").read("float32").shape == (3, 4)
    ours = f"c{__name__}\nhostile\n".encode()
    assert pickle.loads(b"\x80\x02" + ours + state) is hostile  # noqa: S301 (it would have worked)
    assert hostile.__defaults__ == (1,)
    hostile.__defaults__ = None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a pickle",
        b"\x80\x02.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"r\xff\xff\xff\x7f.",
        b"(" * 100_000,
        pickle.dumps(0x1950A86A20F9469CFC6C),
    ],
    ids=["empty", "text", "nothing", "huge bytes", "huge memo", "marks", "magic alone"],
)
def test_broken_files_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(data)
    with pytest.raises(InvalidModel, match=r"not a state dict|is empty|takes more work"):
        StateDict(path)


def changed(tmp_path: Path, change: Callable[[str, bytes], bytes], method: int) -> Path:
    """A state dict whose members are changed, and packed with `method`."""
    path = tmp_path / "model.pth"
    with (
        zipfile.ZipFile(FILES / "state_dict.zip.pth") as source,
        zipfile.ZipFile(path, "w", method) as target,
    ):
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
    return path


def test_compressed_members_are_refused(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda _, data: data, zipfile.ZIP_DEFLATED)
    with pytest.raises(InvalidModel, match="is compressed"):
        StateDict(path)


def test_a_storage_that_is_too_short_is_refused(tmp_path: Path) -> None:
    path = changed(
        tmp_path, lambda name, data: data[:-4] if "/data/" in name else data, zipfile.ZIP_STORED
    )
    with pytest.raises(
        InvalidModel, match=r"float32 cannot be read \(its storage has the wrong size: 44 bytes\)"
    ):
        StateDict(path).read("float32")


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (3, 5), (5, 1)),
        (9, (4,), (1,)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (1 << 40,), (0,)),
    ],
    ids=["too many", "beyond", "before", "backwards", "too large"],
)
def test_a_tensor_stays_within_its_storage(
    offset: int, shape: tuple[int, ...], strides: tuple[int, ...], tmp_path: Path
) -> None:
    def literal(value: object) -> bytes:
        return pickle.dumps(value, protocol=2)[2:-1]

    identity = b"(" + literal("storage") + b"ctorch\nFloatStorage\n"
    identity += literal("0") + literal("cpu") + literal(12) + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + identity
    tensor += literal(offset) + literal(shape) + literal(strides) + b"\x89NtR"
    path = tmp_path / "model.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02}X\x01\x00\x00\x00a" + tensor + b"s.")
        archive.writestr("model/data/0", np.arange(12, dtype=np.float32).tobytes())
    with pytest.raises(InvalidModel, match="a cannot be read"):
        StateDict(path).read("a")


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    path = hostile(tmp_path, {"model": {"a": np.array([{}, None], dtype=object)}})
    with pytest.raises(InvalidModel, match="an array of Python objects"):
        StateDict(path)
