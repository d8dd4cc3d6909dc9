"""Files as people bring them, examined by `doctor`; the page *Troubleshooting* has what it says."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmdetection_files import save
from typer.testing import CliRunner

from maskrcnn_handlers.cli.main import program
from maskrcnn_server.errors import MaskRCNNError
from maskrcnn_server.plugins import installed

ROOT = Path(__file__).parents[1]
CASES = Path(__file__).parent / "cases"
BACKENDS = ROOT / "backends"
DEMO = BACKENDS / "tensorpack/maskrcnn_tensorpack/demo/model/model-6770.npz"
TORCHVISION = BACKENDS / "torchvision/tests/checkpoints/control.pth"
DETECTRON2 = BACKENDS / "detectron2/tests/checkpoints/with_loss.pth"
PAGE = (ROOT / "docs/troubleshooting.md").read_text()
Bring = Callable[[Path], object]


def doctor(model: Path) -> str:
    """All that `doctor` says, in one line."""
    done = CliRunner().invoke(program(installed()), ["doctor", str(model)])
    assert done.exception is None or isinstance(done.exception, MaskRCNNError)
    said = done.output + str(done.exception or "")
    return re.sub(r"[\s│]+", " ", said)


def beside(checkpoint: Path, name: str, *files: tuple[str, str]) -> Bring:
    """A checkpoint of this name, with text files."""

    def bring(folder: Path) -> None:
        shutil.copy(checkpoint, folder / name)
        for file, text in files:
            (folder / file).write_text(text)

    return bring


def case(name: str, checkpoint: Path | None = None, called: str = "") -> Bring:
    """The files of a case, with a checkpoint."""

    def bring(folder: Path) -> None:
        shutil.copytree(CASES / name, folder, dirs_exist_ok=True)
        if checkpoint is not None:
            shutil.copy(checkpoint, folder / called)

    return bring


def content(name: str, data: bytes) -> Bring:
    return lambda folder: (folder / name).write_bytes(data)


SERVED: dict[str, tuple[Bring, str, str]] = {
    "an archive of a Mac": (case("archive_from_a_mac"), "model.tar.gz", "by torchvision"),
    "a plain tar": (case("archive_plain_tar"), "model.tar", "by torchvision"),
    "a log without names": (
        case("tensorpack_log_empty_class_names", DEMO, DEMO.name),
        "",
        "class names numbered, because there are none",
    ),
    "a log of 2018": (
        case("tensorpack_log_old_short_edge", DEMO, DEMO.name),
        "",
        "from log.log PREPROC.TEST_SHORT_EDGE_SIZE=256,",
    ),
    "aliases": (
        beside(DETECTRON2, "model_final.pth", ("config.yaml", "A: &a [1]\nMY: {B: *a, C: *a}\n")),
        "",
        "by detectron2",
    ),
    "an optimizer beside": (
        lambda folder: (
            shutil.copy(TORCHVISION, folder / "model.pth"),
            (folder / "optimizer.pt").write_bytes(b"\x80\x02N."),
        ),
        "",
        "by torchvision",
    ),
}
"""What is served: the files, the file that is named, and what is said."""

TENSORS = {"rpn_head.init_proposal_bboxes.weight": np.zeros((100, 4), np.float32)}

REFUSED: dict[str, tuple[Bring, str]] = {
    "layers of other sizes": (case("detectron2_c4"), "4 variables with the wrong shape"),
    "a network of MMDetection": (
        lambda folder: save(folder / "epoch_12.pth", TENSORS, "model = dict(type='QueryInst')"),
        "epoch_12.pth: model.type=QueryInst, but only MaskRCNN or FasterRCNN or CascadeRCNN is "
        "computed",
    ),
    "a pointer": (
        case("git_lfs_pointer"),
        "model.pth is a Git LFS pointer, not the file itself: run `git lfs pull` where it was "
        "cloned",
    ),
    "a page": (
        content("model.pth", b"<!DOCTYPE html><html>"),
        "is an HTML page, such as a login or an error: download the file itself",
    ),
    "an empty file": (content("model.pth", b""), "is empty: copy or download it again"),
    "TorchScript": (
        case("torchscript"),
        "model.pt is a TorchScript program, not a state dict: save model.state_dict() with "
        "torch.save",
    ),
    "a misspelt key": (
        case("torchvision_config_ignored", TORCHVISION, "model.pth"),
        "no such key: minsize; the nearest is min_size",
    ),
    "regions from one level": (
        beside(
            DETECTRON2,
            "model_final.pth",
            ("config.yaml", "MODEL: {ROI_HEADS: {IN_FEATURES: [p2]}}"),
        ),
        "MODEL.ROI_HEADS.IN_FEATURES is configured as ('p2',), but the weights have "
        "('p2', 'p3', 'p4', 'p5')",
    ),
    "NaN": (
        beside(BACKENDS / "torchvision/tests/faulty/nan.pth", "model.pth"),
        "variables hold NaN or infinity",
    ),
    "another suffix": (
        beside(TORCHVISION, "pytorch_model.bin"),
        "rename it to pytorch_model.pth",
    ),
    "the best and the last": (
        lambda folder: [shutil.copy(TORCHVISION, folder / name) for name in ("a.pth", "b.pth")],
        "several checkpoints without a step number; keep only one of: a.pth, b.pth",
    ),
}
"""What is refused: the files, and what is said."""


@pytest.mark.parametrize("name", SERVED)
def test_what_is_good_would_be_served(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring, file, said = SERVED[name]
    (tmp_path / "model").mkdir()
    bring(tmp_path / "model")
    monkeypatch.setenv("MASKRCNN_CACHE", str(tmp_path / "cache"))
    found = doctor(tmp_path / "model" / file)
    assert "would be served" in found
    assert said in found


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    bring, said = REFUSED[name]
    bring(tmp_path)
    found = doctor(tmp_path)
    assert "would be served" not in found
    assert said in found


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_said_is_on_the_page(name: str) -> None:
    _, said = REFUSED[name]
    assert said.replace("`", "") in PAGE.replace("`", "")
