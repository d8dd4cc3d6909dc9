"""What the page *Which backend do I have?* says that people see, they see."""

import io
import pickle
import re
import shutil
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from maskrcnn_network.checkpoints.checkpoint import Npz
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.errors import BackendNotSelected
from maskrcnn_server.hookspecs import PROJECT
from maskrcnn_server.hosting.located import choose_backend, locate
from maskrcnn_server.plugins import Plugins, installed

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
PAGE = (ROOT / "docs/which_backend.md").read_text()
Spoil = Callable[[Path], object]


def problems(backend: str, model_dir: Path, resnet_arch: str | None = None) -> str:
    config = ModelConfig(model_dir=model_dir, resnet_arch=resnet_arch)
    seen = installed().backends()[backend].probe(config)
    assert seen is not None
    return "\n".join(seen.problems)


def shown(start: str) -> re.Pattern[str]:
    """The message on the page that starts so, whatever the model's own names and numbers are."""
    (message,) = re.findall(rf"^\| `({re.escape(start)}[^`]*)`", PAGE, re.MULTILINE)
    pattern = re.sub(r"\\\.\\\.\\\.", ".*", re.escape(message))
    return re.compile(re.sub(r"resnet\d+|model\\-\d+|\d+", r"[-\\w]+", pattern))


def test_before_it_is_loaded_a_checkpoint_is_opened_once_and_fc6_read_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many backends look at it."""
    seen: list[str] = []
    opened, read = Npz.__init__, Npz.read

    def open_counted(self: Npz, path: Path) -> None:
        seen.append("open")
        opened(self, path)

    def read_counted(self: Npz, name: str) -> NDArray[np.float32]:
        seen.append(name)
        return read(self, name)

    monkeypatch.setattr(Npz, "__init__", open_counted)
    monkeypatch.setattr(Npz, "read", read_counted)
    settings = environment.read(model=str(DEMO))
    located = locate(installed(), settings.model, settings)
    assert {"tensorpack", "aws_samples"} <= set(located.probes)
    assert choose_backend(installed(), located).name == "tensorpack"
    assert seen == ["open", "fastrcnn/fc6/W"]


def test_an_expectation_that_is_not_met() -> None:
    found = problems("tensorpack", DEMO, "resnet50")
    assert shown("RESNET_ARCH is resnet50").search(found)


def test_the_other_backend_of_the_two() -> None:
    assert shown("the rows of fastrcnn/fc6/W").search(problems("aws_samples", DEMO))


@pytest.mark.parametrize(
    ("start", "spoil"),
    [
        (
            "several checkpoints",
            lambda folder: shutil.copy(folder / "model-6770.npz", folder / "b-6770.npz"),
        ),
        ("classes.txt names", lambda folder: (folder / "classes.txt").write_text("a\nb\n")),
        (
            "no such key",
            lambda folder: (folder / "config.yaml").write_text("FPN: {PROPOSAL_MODES: Joint}"),
        ),
    ],
    ids=["checkpoints", "classes", "key"],
)
def test_a_folder_that_is_not_right(start: str, spoil: Spoil, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(DEMO, folder)
    spoil(folder)
    assert shown(start).search(problems("tensorpack", folder))


@pytest.mark.parametrize("below", ["train_log", "train_log/maskrcnn", "run/1/train_log"])
def test_a_backbone_above_the_training_folder_is_passed_over(below: str, tmp_path: Path) -> None:
    (tmp_path / below).parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(DEMO, tmp_path / below)
    values = dict(np.load(DEMO / "model-6770.npz"))
    body = {name: value for name, value in values.items() if name.startswith(("conv0", "group"))}
    np.savez(tmp_path / "ImageNet-R50-AlignPadding.npz", allow_pickle=False, **body)
    settings = environment.read(model=str(tmp_path))
    located = locate(installed(), settings.model, settings)
    assert located.folder == tmp_path / below
    assert choose_backend(installed(), located).name == "tensorpack"


def pickled(*names: str) -> bytes:
    return pickle.dumps({"model": {name: np.zeros(1, np.float32) for name in names}})


def arrays(*names: str) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **dict.fromkeys(names, np.zeros(1)))
    return file.getvalue()


TENSORPACK = "group0/block0/conv1/W", "maskrcnn/fcn0/W"
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(100)
FAMILIES: dict[str, tuple[str, bytes, str]] = {
    "model-90000.index": (
        "model-90000.index",
        b"\0\x0bgroup0/block0/conv1/W\0maskrcnn/fcn0/W",
        "TensorPack's and AWS Samples' networks: `pip install maskrcnn-tensorpack` or "
        "`pip install maskrcnn-aws-samples`",
    ),
    "COCO-MaskRCNN-R50FPN2x.npz": (
        "COCO-MaskRCNN-R50FPN2x.npz",
        arrays(*TENSORPACK),
        "`pip install maskrcnn-tensorpack`",
    ),
    "model-800000_inf_only.index": (
        "model-800000_inf_only.index",
        b"\0\x0bgroup0/block0/conv1/W\0cascade_rcnn_stage1/head/fc6/W\0rpn/conv0/W",
        "`pip install maskrcnn-tensorpack`",
    ),
    "model_final.pth": (
        "model_final.pth",
        pickled("backbone.bottom_up.res2.0.conv1.weight"),
        "`pip install maskrcnn-detectron2`",
    ),
    "model.pth": (
        "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
        pickled("backbone.body.layer1.0.conv1.weight"),
        "`pip install maskrcnn-torchvision`",
    ),
    "epoch_12.pth": (
        "epoch_12.pth",
        pickled("backbone.layer1.0.conv1.weight", "roi_head.mask_head.convs.0.conv.weight"),
        "`pip install maskrcnn-mmdetection`",
    ),
    "mask_rcnn_coco.h5": (
        "mask_rcnn_balloon_0030.h5",
        HDF5 + b"mrcnn_class_logits",
        "`pip install maskrcnn-matterport`",
    ),
    "saved_model.pb": (
        "frozen_inference_graph.pb",
        b"\n\x20SecondStageBoxPredictor/ClassPredictor/weights",
        "`pip install maskrcnn-tf-object-detection`",
    ),
}
"""By a file of the page's first table: a small one of the kind, and what is said of it."""


@pytest.mark.parametrize("file", FAMILIES)
def test_every_family_on_the_page_is_known_without_its_backend(file: str, tmp_path: Path) -> None:
    name, content, said = FAMILIES[file]
    (tmp_path / name).write_bytes(content)
    others = [e for e in entry_points(group=PROJECT) if e.name in ("matterport", "torchvision")]
    plugins = Plugins(e for e in others if f"maskrcnn-{e.name}`" not in said)
    settings = environment.read(model=str(tmp_path))
    with pytest.raises(BackendNotSelected) as caught:
        choose_backend(plugins, locate(plugins, settings.model, settings))
    assert said in caught.value.message


def test_without_any_backend_the_next_step_is_named(tmp_path: Path) -> None:
    plugins = Plugins(found=[])
    settings = environment.read(model=str(tmp_path))
    with pytest.raises(BackendNotSelected, match="maskrcnn-tensorpack, which also says "):
        choose_backend(plugins, locate(plugins, settings.model, settings))


def test_every_row_of_the_page_has_a_file() -> None:
    table = PAGE.partition("## By its files")[2].partition("##")[0]
    rows = re.findall(r"^\| `(.*?)`", table, re.MULTILINE)
    assert rows == list(FAMILIES)
