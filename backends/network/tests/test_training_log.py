"""Training logs of TensorPack as they come from machines, terminals, and many runs."""

import gzip
import pprint
import re
import textwrap
import time
from pathlib import Path

import pytest

from maskrcnn_network.sources import Configuration, read
from maskrcnn_network.tensorpack_config import TensorPackConfig
from maskrcnn_network.training_log import MAX_TRIES
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.errors import InvalidModel

NAMES = ["BG", 'size 5" screw', "cat's", "both ' and \"", "back\\slash", "a, b", "}", "{c]", "x}\n"]
NAMES += ["Äpfel", "猫", "\u2028", "Config: ------------", "<b>", "[1,0]<stdout>:", "\x1b[0m"]


def logged(short_edge: int = 600, names: list[str] | None = None, **more: object) -> str:
    """The lines of a run, as TensorPack writes them."""
    values = {
        "BACKBONE": {"FREEZE_AFFINE": False, "NORM": "FreezeBN", "RESNET_NUM_BLOCKS": [3, 4, 6, 3]},
        "DATA": {"BASEDIR": "/data", "CLASS_NAMES": NAMES if names is None else names},
        "MODE_FPN": True,
        "PREPROC": {"MAX_SIZE": 1344.0, "TEST_SHORT_EDGE_SIZE": short_edge},
        "RPN": {"ANCHOR_SIZES": (32, 64, 128, 256, 512)},
        "TRAINER": "replicated",
        **more,
    }
    printed = pprint.pformat(values, indent=1, width=100, compact=True)
    return (
        "\x1b[32m[1123 05:19:15 @logger.py:94]\x1b[0m Argv: train.py\n"
        f"\x1b[32m[1123 05:19:16 @config.py:303]\x1b[0m Config: {'-' * 42}\n{printed}\n"
        "\x1b[32m[1123 05:19:17 @train.py:50]\x1b[0m Warm Up Schedule: [(0, 1e-05)]\n"
    )


def found(folder: Path, log: str | bytes, name: str = "log.log") -> Configuration[TensorPackConfig]:
    (folder / name).write_bytes(log.encode() if isinstance(log, str) else log)
    return read(ModelConfig(model_dir=folder), TensorPackConfig)


def before_each(prefix: str) -> str:
    """A log with this before each line; `%d` is the line's number."""
    lines = enumerate(logged().splitlines(keepends=True), start=8)
    return "".join(prefix.replace("%d", str(i)) + line for i, line in lines)


def cut_at(width: int) -> str:
    """A log as it is copied from a terminal of this width."""
    lines = logged().splitlines()
    return "\n".join(line[i : i + width] for line in lines for i in range(0, len(line), width))


WITH = logged().replace
READ: dict[str, str | bytes] = {
    "as written": logged(),
    "without an end of line": logged()[: logged().index("\x1b[32m[1123 05:19:17")].rstrip(),
    "the next line glued": WITH("'replicated'}\n", "'replicated'}[1123 05:19:17 @x.py:1] "),
    "colours in names": re.sub("('MODE_FPN'|'DATA')", "\x1b[36m\\1\x1b[0m", logged()),
    "colours in lines": "".join(f"\x1b[0m{x}\x1b[K\n" for x in logged().split("\n")),
    "script": WITH("\n", "\r\n"),
    "script in script": WITH("\n", "\r\r\n"),
    "progress bars": logged() + "\r".join(f" {i}%|  |{i}/500 [00:00<?,?it/s]" for i in range(99)),
    "width 120": cut_at(120),
    "width 80": cut_at(80),
    "width 61": cut_at(61),
    "indented": textwrap.indent(logged(), "    "),
    "quoted": textwrap.indent(logged(), "> "),
    "numbered": before_each("%d\t"),
    "mpirun": before_each("[1,0]<stdout>:"),
    "mpirun with the time": before_each("Fri Nov 23 05:19:15 2018[1,0]<stdout>:"),
    "mpirun 5": before_each("[job1,0]<stderr>: "),
    "horovodrun": before_each("[0]<stdout>:"),
    "mpirun on SageMaker": before_each("[1,mpirank:0,algo-1]<stdout>:[algo-1] "),
    "two ranks": "".join(
        f"[1,{i}]<stdout>:{x}\n" for x in logged().split("\n")[:-1] for i in (0, 1)
    ),
    "docker compose": before_each("train_1  | "),
    "kubectl": before_each("[pod/train-0/train] "),
    "slurm": before_each("%d: "),
    "CloudWatch": before_each("2019-11-23T05:19:%d.000Z "),
    "a warning between": WITH(
        " 'MODE_FPN'",
        "2019-11-23 05:19:16.1: W tf/x.cc:1] can't {\n[1123 05:19:16 @x.py:1] }\n 'MODE_FPN'",
    ),
    "UTF-16 without a mark": logged().encode("utf-16-le"),
    "UTF-16 after UTF-8": logged(700).encode() + b"\n" + logged().encode("utf-16-le"),
    "UTF-16 of odd length": logged().encode("utf-16") + b"x",
    "zeros before and after": bytes(5001) + logged().encode() + bytes(99),
    "gzip": gzip.compress(logged().encode()),
    "gzip, cut off": gzip.compress(logged().encode() + bytes(range(256)) * 400)[:-60],
    "numbers of NumPy 2": WITH("1344.0", "np.float64(1344.0)").replace("True", "np.True_"),
    "numbers of numpy": WITH("1344.0", "numpy.float32(1344.0)"),
    "arrays": WITH("[3, 4, 6, 3]", "array([3, 4, 6, 3], dtype=int32)"),
    "sets and objects": WITH("'replicated'", "<Trainer object at 0x7f>, 'A': {1, 2}"),
    "AttrDict": WITH("{'BACKBONE'", "AttrDict({'BACKBONE'").replace("cated'}", "cated'})"),
    "the run before": logged(700) + logged(),
    "runs before, of other classes": logged(names=["BG", "x"]) * 3 + logged(),
}
"""Logs that say all that `logged()` says."""


@pytest.mark.parametrize("name", READ)
def test_a_log_is_read_whatever_it_went_through(name: str, tmp_path: Path) -> None:
    one = found(tmp_path, READ[name])
    assert one.network.short_edge == 600
    assert one.network.max_size == 1344
    assert one.values["BACKBONE.RESNET_NUM_BLOCKS"] == [3, 4, 6, 3]
    if not {"numbered", "slurm"} & {name}:
        assert one.network.class_names is not None
        assert [n for n in one.network.class_names if n != "\x1b[0m"] == NAMES[:-1]
    assert not [note for note in one.notes if "assumed" in note]


@pytest.mark.parametrize("names", ["[]", "()", "None", "array([], dtype=float64)"])
def test_a_log_without_names_is_read(names: str, tmp_path: Path) -> None:
    log = logged(names=["BG", "x"]).replace("['BG', 'x']", names)
    one = found(tmp_path, log)
    assert one.network.class_names is None
    assert one.network.short_edge == 600


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_a_run_that_was_cut_off_leaves_the_one_before(share: float, tmp_path: Path) -> None:
    last = logged(700)
    end = last.index("Config") + int(share * (last.index("replicated") - last.index("Config")))
    one = found(tmp_path, logged() + last[:end])
    assert one.network.short_edge == 600
    assert one.notes == ["log.log breaks off inside its last configuration: the one before counts"]


def test_a_log_that_is_cut_off_is_not_read_in_part(tmp_path: Path) -> None:
    text = logged()
    for end in range(text.index("{"), text.index("cated'}"), 97):
        one = found(tmp_path, text[:end])
        assert one.values == {}
        assert one.notes == ["log.log breaks off inside its configuration: defaults are assumed"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1344.0", "open('/etc/passwd')"),
        ("'replicated'", "TRAINER()"),
        ("True", "a.b.c"),
        ("1344.0", "9 if x else 8"),
        ("'replicated'", "[" * 300 + "]" * 300),
    ],
)
def test_what_would_have_to_be_executed_is_refused(old: str, new: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=r"log\.log: its configuration cannot be read"):
        found(tmp_path, logged().replace(old, new))


def test_the_last_run_in_a_log_of_200_megabytes_counts(tmp_path: Path) -> None:
    start = time.monotonic()
    with (tmp_path / "log.log").open("wb") as file:
        file.write(logged(700).encode())
        file.seek(200 << 20)
        file.write(logged().encode())
        file.seek(210 << 20)
        file.write(b"end")
    one = read(ModelConfig(model_dir=tmp_path), TensorPackConfig)
    assert one.network.short_edge == 600
    assert time.monotonic() - start < 10


def test_a_compressed_log_of_its_own_name_is_read(tmp_path: Path) -> None:
    one = found(tmp_path, gzip.compress(logged().encode()), "log.log.gz")
    assert one.origin("PREPROC.TEST_SHORT_EDGE_SIZE") == "log.log.gz"
    one = found(tmp_path, logged(700))
    assert one.network.short_edge == 700


def test_very_many_beginnings_take_little_time(tmp_path: Path) -> None:
    start = time.monotonic()
    hostile = ("Config: -----\n" + "1 " * 39 + "{'a': '" + "\\" * 999 + "\n") * 9000
    assert found(tmp_path, hostile).values == {}
    assert found(tmp_path, ("Config: " + "-" * 999) * (MAX_TRIES + 1) + "\n" * 99999).values == {}
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    "name", ["train.log", "LOG.LOG", "log.txt", "log.log.1121-100000", "mylog.txt.gz"]
)
def test_a_log_of_another_name_is_named_in_a_note(name: str, tmp_path: Path) -> None:
    one = found(tmp_path, logged(), name)
    assert one.values == {}
    assert one.notes == [f"not read: {name}; rename that of the training to log.log"]
