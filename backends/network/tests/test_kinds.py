"""Files that no backend serves are called by their names."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_network.checkpoints.kinds import described

BACKENDS = ("aws_samples", "detectron2", "matterport", "onnx", "tensorpack", "torchvision")


def pickled(*names: str) -> bytes:
    return pickle.dumps({"model": {name: np.zeros(1, np.float32) for name in names}})


def zipped(names: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in names.items():
            archive.writestr(name, data)
    return file.getvalue()


def arrays(*names: str) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{name: np.zeros(1) for name in names})
    return file.getvalue()


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return file.getvalue()


HEADER = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
NAMES = json.dumps({"backbone.bottom_up.res2.0.conv1.weight": {}}).encode()
FILES: dict[str, tuple[str, bytes, str]] = {
    "empty": ("model.pth", b"", "is empty"),
    "empty npz": ("model-5.npz", b"", "is empty"),
    "pointer": (
        "model.pth",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 178090079\n",
        "is a Git LFS pointer, not the file itself: run `git lfs pull`",
    ),
    "pointer of an npz": ("model.npz", b"version https://git-lfs.github.com/spec/v1\n", "git lfs"),
    "page": ("model.pth", b"<!DOCTYPE html>\n<html><title>Sign in</title>", "is an HTML page"),
    "page after a blank": ("model.pkl", b"\n \n<HTML lang='en'>", "is an HTML page"),
    "error of S3": ("model.pth", b"<?xml version='1.0'?><Error>AccessDenied</Error>", "of S3"),
    "error of a server": ("model.pth", b'{"message": "Not Found"}', "is a JSON text"),
    "zeros": ("model.pth", bytes(2048), "begins with zeros"),
    "gzip": ("model.pth", gzip.compress(b"abc"), "is compressed by gzip"),
    "tar": ("model.pth", tar(), "is a tar archive"),
    "safetensors as .pth": (
        "model.pth",
        len(HEADER).to_bytes(8, "little") + HEADER + bytes(4),
        "is in safetensors' format: rename it to model.safetensors",
    ),
    "TorchScript": (
        "model.pt",
        zipped({"m/data.pkl": b"", "m/code/__torch__.py": b"", "m/constants.pkl": b""}),
        "is a TorchScript program",
    ),
    "cut off": ("model.pth", zipped({"m/data.pkl": bytes(9999)})[:5000], "is cut off"),
    "Swin": ("model_final.pth", pickled("backbone.bottom_up.patch_embed.proj.weight"), "another"),
    "MMDetection": (
        "epoch_12.pth",
        pickled("backbone.layer1.0.conv1.weight", "rpn_head.rpn_conv.weight"),
        "has the tensors of MMDetection's networks of two stages (backbone.layer1.0.conv1.weight",
    ),
    "MMDetection 1": ("latest.pth", pickled("bbox_head.fc_cls.weight"), "MMDetection 1, or of"),
    "another backbone": (
        "model.pth",
        pickled("backbone.body.0.0.weight", "rpn.head.conv.0.0.weight"),
        "a torchvision network with another backbone",
    ),
    "MobileNet by hand": (
        "model.pth",
        pickled("backbone.0.0.weight", "roi_heads.box_head.fc6.weight"),
        "a torchvision network with another backbone",
    ),
    "maskrcnn-benchmark": (
        "model.pth",
        pickled("module.backbone.body.stem.conv1.weight", "backbone.body.layer1.0.conv1.weight"),
        "maskrcnn-benchmark",
    ),
    "Keras": ("weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), "is a file of Keras"),
    "Object Detection API": (
        "frozen_inference_graph.pb",
        b"\n\x20FirstStageFeatureExtractor/resnet_v1_101/conv1",
        "TensorFlow's Object Detection API",
    ),
    "checkpoint of TensorFlow 1": (
        "model.ckpt-200000.index",
        b"\0FirstStageBoxPredictor/BoxEncodingPredictor/biases",
        "is a checkpoint of TensorFlow's Object Detection API: export it with",
    ),
    "checkpoint of TensorFlow 2": (
        "ckpt-0.index",
        b"\0model/_feature_extractor_for_box_classifier_features/layer_with_weights-0/bias",
        "is a checkpoint of TensorFlow's Object Detection API: export it with",
    ),
    "other graph": ("saved_model.pb", b"\x08\x01\x12\x04serve", "is a graph of TensorFlow"),
    "backbone of TensorPack": (
        "ImageNet-R50-AlignPadding.npz",
        arrays("conv0/W", "group0/block0/conv1/W"),
        "an ImageNet backbone of TensorPack",
    ),
    "backbone of torchvision": (
        "resnet50-0676ba61.pth",
        pickled("conv1.weight", "layer1.0.conv1.weight", "fc.weight"),
        "a ResNet alone",
    ),
    "YOLO": ("yolo.pt", pickled("model.22.cv2.0.0.conv.weight"), "is a YOLO model"),
    "unknown": ("model.pth", pickled("encoder.weight"), "no backend knows (encoder.weight)"),
    "TensorRT": ("model.engine", b"ftrt", "is an engine of TensorRT"),
}


@pytest.mark.parametrize(("name", "content", "line"), FILES.values(), ids=FILES)
def test_a_file_that_no_backend_serves_is_described(
    name: str, content: bytes, line: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    (found,) = described(tmp_path, BACKENDS)
    assert found.startswith(f"{name} ")
    assert line in found


@pytest.mark.parametrize(
    ("name", "content", "backend"),
    [
        ("mask_rcnn_coco.h5", b"\x89HDF\r\n\x1a\n" + bytes(9) + b"mrcnn_mask_conv1", "matterport"),
        ("model.pth", pickled("backbone.body.layer1.0.conv1.weight"), "torchvision"),
        ("model_final.pkl", pickled("backbone.bottom_up.res2.0.conv1.weight"), "detectron2"),
        ("model.npz", arrays("group0/block0/conv1/W", "fastrcnn/fc6/W"), "tensorpack"),
        ("model.npz", arrays("group0/block0/conv1/W", "fastrcnn/fc6/W"), "aws-samples"),
        ("model-90000.index", b"\0\x0bgroup0/block0/conv1/Wmaskrcnn/conv/W", "tensorpack"),
        (
            "model.safetensors",
            len(NAMES).to_bytes(8, "little") + NAMES,
            "detectron2",
        ),
        ("model.onnx", b"\x08\x08\x12\x07pytorch", "onnx"),
    ],
)
def test_a_backend_that_is_not_installed_is_named_with_the_line_that_installs_it(
    name: str, content: bytes, backend: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    (found,) = described(tmp_path, ())
    assert f"`pip install maskrcnn-{backend}`" in found
    assert described(tmp_path, BACKENDS) == []


TORCHVISION = pickled("backbone.body.layer1.0.conv1.weight")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("pytorch_model.bin", TORCHVISION, "rename it to pytorch_model.pth"),
        ("model.chkpt", TORCHVISION, "rename it to model.pth"),
        ("checkpoint", TORCHVISION, "rename it to checkpoint.pth"),
        ("MODEL.PTH", TORCHVISION, "rename it to MODEL.pth"),
        ("model.pkl", TORCHVISION, "rename it to model.pth"),
        ("best.pt.tar", TORCHVISION, "rename it to best.pt.pth"),
        ("w.hdf", b"\x89HDF\r\n\x1a\n" + bytes(9) + b"mrcnn_mask_conv1", "rename it to w.h5"),
        ("model.npz.bak", arrays("group0/block0/conv1/W", "fpn/W"), "rename it to model.npz.npz"),
        ("model.pth.gz", gzip.compress(TORCHVISION), "is compressed by gzip: unpack it"),
        ("net", zipped({"m/data.pkl": b"\x80\x02N."}), "is a file of PyTorch without a state dict"),
    ],
)
def test_a_file_whose_name_no_backend_reads_is_described(
    name: str, content: bytes, line: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "notes.txt").write_text("of a training")
    (found,) = described(tmp_path, BACKENDS)
    assert found.startswith(f"{name} ")
    assert line in found


@pytest.mark.parametrize(
    "damage",
    [lambda d: d[:-30], lambda d: d[:60], lambda d: d.replace(b"data.pkl", b"data.pk\xff")],
)
def test_damaged_files_are_described_without_an_error(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    data = zipped({"m/data.pkl": pickled("a.weight"), "m/data/0": bytes(9)})
    (tmp_path / "model.pth").write_bytes(damage(data))
    assert len(described(tmp_path, ())) <= 1


def test_files_below_are_described_and_hidden_ones_are_not(tmp_path: Path) -> None:
    (tmp_path / "run/.cache").mkdir(parents=True)
    for name in ("run/model.pth", "run/._model.pth", "run/.cache/model.pth", "run/notes.txt"):
        (tmp_path / name).touch()
    assert [line.split()[0] for line in described(tmp_path, ())] == ["run/model.pth"]


def test_a_mobilenet_with_a_pyramid_is_torchvisions(tmp_path: Path) -> None:
    names = "backbone.body.1.block.0.0.weight", "backbone.fpn.inner_blocks.0.0.weight"
    (tmp_path / "model.pth").write_bytes(pickled(*names))
    (line,) = described(tmp_path, ())
    assert "a MobileNet and FPN" in line
    assert "pip install maskrcnn-torchvision" in line
