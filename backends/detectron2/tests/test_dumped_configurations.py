"""`config.yaml` as libraries dump it and as editors leave it: aliases, tags, encodings."""

import shutil
from pathlib import Path

import pytest

from maskrcnn_detectron2.backend import Detectron2Backend
from maskrcnn_server.backend import ModelConfig, Probe

TESTS = Path(__file__).parent
DUMPS = TESTS / "configurations/dumps"
SIZE = "INPUT:\n  MIN_SIZE_TEST: 512\n"
SHORT_512 = "short edge 512, long edge at most 1333 pixels"


def probe(folder: Path, config: str | bytes) -> Probe:
    """What the backend says of a network of 6 classes with this configuration."""
    shutil.copy(TESTS / "checkpoints/with_loss.pth", folder / "model_final.pth")
    (folder / "config.yaml").write_bytes(config.encode() if isinstance(config, str) else config)
    found = Detectron2Backend().probe(ModelConfig(model_dir=folder))
    assert found is not None
    return found


@pytest.mark.parametrize("name", sorted(path.stem for path in DUMPS.iterdir()))
def test_dumps_of_the_libraries_are_read(name: str, tmp_path: Path) -> None:
    found = probe(tmp_path, (DUMPS / f"{name}.yaml").read_bytes())
    assert not found.problems
    assert found.facts["resize"] == "short edge 600, long edge at most 1000 pixels"
    said = found.facts["from config.yaml"]
    assert "MODEL.ROI_HEADS.NMS_THRESH_TEST=0.5" in said
    assert "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS=[0.5, 1.0, 2.0]" in said


READ: dict[str, str | bytes] = {
    "Windows": SIZE.replace("\n", "\r\n"),
    "old Mac": SIZE.replace("\n", "\r"),
    "mark": b"\xef\xbb\xbf" + SIZE.encode(),
    "UTF-16": SIZE.encode("utf-16"),
    "UTF-16, big endian": b"\xfe\xff" + SIZE.encode("utf-16-be"),
    "directive and end": f"%YAML 1.1\n---\n{SIZE}...\n",
    "tuple": "MODEL:\n  PIXEL_STD: !!python/tuple [1.0, 1.0, 1.0]\n" + SIZE,
    "text of Python 2": "INPUT: {FORMAT: !!python/unicode BGR, MIN_SIZE_TEST: !!python/long 512}",
    "name of Python": "HOOK: !!python/name:os.system ''\n" + SIZE,
    "yacs' tuple": "MODEL:\n  PIXEL_STD: (1.0, 1.0, 1.0)\n" + SIZE,
    "yacs' names": "MODEL:\n  RPN:\n    IN_FEATURES: ('p2', 'p3', 'p4', 'p5', 'p6')\n" + SIZE,
    "yacs' numbers": "MODEL: {RPN: {NMS_THRESH: 7e-1}}\nINPUT: {MIN_SIZE_TEST: '512'}\n",
    "section without keys": "TEST:\nMODEL:\n  RPN:\n" + SIZE,
    "alias of a number": "A: &n 512\nINPUT: {MIN_SIZE_TEST: *n}\n",
    "alias of a key": "A: &k MIN_SIZE_TEST\nINPUT: {*k : 512}\n",
    "aliases in a list of anchors": "MODEL: {ANCHOR_GENERATOR: {SIZES: [&s [32], [64], [128],"
    " [256], [512]], ASPECT_RATIOS: &r [[0.5, 1.0, 2.0]]}, MINE: {R: *r, S: [*s, *s]}}\n" + SIZE,
    "alias of an alias": "A: &a [1, 1, 1, 1]\nB: &b {BBOX_REG_WEIGHTS: *a}\nC: &c {RPN: *b}\n"
    "MODEL: *c\n" + SIZE,
    "merged list, the first counts": "A: &a {MIN_SIZE_TEST: 512}\nB: &b {MIN_SIZE_TEST: 9}\n"
    "INPUT: {<<: [*a, *b]}\n",
    "merged, own keys count": "A: &a {MIN_SIZE_TEST: 9}\nINPUT: {<<: *a, MIN_SIZE_TEST: 512}\n",
    "merged, own keys first": "A: &a {MIN_SIZE_TEST: 9}\nINPUT: {MIN_SIZE_TEST: 512, <<: *a}\n",
    "merged twice over": "X: &x {MIN_SIZE_TEST: 9, MAX_SIZE_TEST: 1333}\n"
    "Y: {DEEP: {Z: &z {<<: *x, MIN_SIZE_TEST: 512}}}\nINPUT: {<<: *z}\n",
}
"""Configurations with a short edge of 512 pixels."""


@pytest.mark.parametrize("name", READ)
def test_a_configuration_is_read_however_it_is_written(name: str, tmp_path: Path) -> None:
    found = probe(tmp_path, READ[name])
    assert not found.problems
    assert found.facts["resize"] == SHORT_512


MANY = "".join(
    f"B{i}: &b{i} {{<<: [{', '.join(['*a', f'*b{i - 1}'] * 9)}]}}\n" for i in range(1, 9)
)
REFUSED: dict[str, tuple[str | bytes, str]] = {
    "apply": ("A: !!python/object/apply:os.system ['touch made']\n", "os.system would have to be"),
    "new": ("A: !!python/object/new:os.system ['touch made']\n", "os.system would have to be"),
    "module": ("A: !!python/module:antigravity ''\n", "antigravity would have to be executed"),
    "number of NumPy": (
        "A: !!python/object/apply:numpy.core.multiarray.scalar [f8, x]\n" + SIZE,
        "would have to be executed, and is not: write plain values at line 1",
    ),
    "arguments of a config": (
        "A: !!python/object/new:yacs.config.CfgNode [1]\n",
        "yacs.config.CfgNode would have to be executed",
    ),
    "tag of a program": ("A: !include base.yaml\n" + SIZE, "the tag '!include'"),
    "contains itself": ("A: &a {B: *a}\n" + SIZE, "more than 100000 values"),
    "list in itself": ("A: &a [[*a]]\n" + SIZE, "more than 100000 values"),
    "merged into itself": ("INPUT: &a {<<: *a, MIN_SIZE_TEST: 512}\n", "more than 100000 values"),
    "merged without end": (
        "A: &a {x: 1}\nB0: &b0 {y: 1}\n" + MANY + SIZE,
        "more than 100000 values, with what aliases repeat",
    ),
    "merge of a number": ("A: &a 5\nINPUT: {<<: *a}\n", "<< names no mapping"),
    "no such alias": ("INPUT: *nope\n", "found undefined alias 'nope' at line 1"),
    "twice": (SIZE + SIZE, "the key INPUT comes twice at line 1"),
    "merged and twice": (
        "A: &a {M: 1}\nINPUT: {<<: *a, MIN_SIZE_TEST: 1, MIN_SIZE_TEST: 2}\n",
        "the key MIN_SIZE_TEST comes twice at line 2",
    ),
    "two documents": (f"{SIZE}---\n{SIZE}", "expected a single document"),
    "tabs": ("INPUT:\n\tMIN_SIZE_TEST: 512\n", "found character '\\t'"),
    "Latin-1": ("# entraînement\n".encode("latin-1") + SIZE.encode(), "save it as UTF-8"),
    "UTF-32": (SIZE.encode("utf-32"), "save it as UTF-8"),
    "colours of a terminal": ("\x1b[32mINPUT\x1b[0m:\n  MIN_SIZE_TEST: 512\n", "#x001b"),
    "reference": ("INPUT: {MAX_SIZE_TEST: '${INPUT.MIN_SIZE_TEST}'}\n", "INPUT.MAX_SIZE_TEST='${"),
    "tuple for a number": ("INPUT:\n  MIN_SIZE_TEST: (512,)\n", "INPUT.MIN_SIZE_TEST=[512]"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_and_nothing_is_executed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config, said = REFUSED[name]
    (problem,) = probe(tmp_path, config).problems
    assert said in problem
    assert "byte string" not in problem
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "model_final.pth"}
