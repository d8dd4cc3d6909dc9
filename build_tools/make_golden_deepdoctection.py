#!/usr/bin/env python3
"""Compute golden files of thin networks with deepdoctection's own TensorPack code.

    make_golden_deepdoctection.py OUT CASE[=SEED] ...

OUT gets a file for each CASE of `CASES`: see tests/golden/thin.py; kernels are stored output
channels first. A CASE may also be a `conf_frcnn_*.yaml`, for a network of its size. Needs
deepdoctection 0.39.4 with tensorpack, and tf-keras besides TensorFlow 2.

Each layer's output is made to have mean 0 and the wanted spread on the first picture, in the
framework's own graph, so that a network of random kernels finds objects of several classes.
"""

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ |= {
    "TF_USE_LEGACY_KERAS": "1",
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "DD_USE_TF": "1",
    "DD_USE_TORCH": "0",
    "USE_DD_OPENCV": "True",
    "USE_DD_PILLOW": "False",
}

import numpy as np
import PIL.Image
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/golden")]

import thin  # noqa: E402

Changes = dict[str, Any]

CATEGORIES = {1: "text", 2: "title", 3: "list", 4: "table"}
SPREAD = {
    "rpn/class": 1.0,
    "rpn/box": 0.3,
    "outputs/class": 1.5,
    "outputs/box": 1.5,
}
"""Standard deviation of layers' outputs, by the end of their names. Others: 1."""

PUBLISHED = """\
TAG: casc_rcnn_X_32xd4_50_FPN_GN_2FC
BACKBONE:
  BOTTLENECK: resnext_32xd4
  FREEZE_AFFINE: false
  FREEZE_AT: 0
  NORM: GN
  RESNET_NUM_BLOCKS: [3, 4, 6, 3]
  TF_PAD_MODE: false
CASCADE:
  BBOX_REG_WEIGHTS:
    - [10.0, 10.0, 5.0, 5.0]
    - [20.0, 20.0, 10.0, 10.0]
    - [30.0, 30.0, 15.0, 15.0]
  IOUS: [0.5, 0.6, 0.7]
DATA: {TRAIN_NUM_WORKERS: 12}
FPN:
  ANCHOR_STRIDES: !!python/tuple [4, 8, 16, 32, 64]
  CASCADE: true
  FRCNN_CONV_HEAD_DIM: 256
  FRCNN_FC_HEAD_DIM: 1024
  FRCNN_HEAD_FUNC: fastrcnn_2fc_head
  MRCNN_HEAD_FUNC: None
  NORM: GN
  NUM_CHANNEL: 256
  PROPOSAL_MODE: Level
FRCNN:
  BATCH_PER_IM: 512
  BBOX_REG_WEIGHTS: [10.0, 10.0, 5.0, 5.0]
  FG_RATIO: 0.25
  FG_THRESH: 0.5
MODE_MASK: false
MRCNN: {ACCURATE_PASTE: true, HEAD_DIM: 256}
PREPROC:
  MAX_SIZE: 1333
  PIXEL_MEAN: [238.234, 238.14, 238.145]
  PIXEL_STD: [7.961, 7.876, 7.81]
  SHORT_EDGE_SIZE: 800
  TRAIN_SHORT_EDGE_SIZE: [800, 1200]
RPN:
  ANCHOR_RATIOS: !!python/tuple [0.5, 1.0, 2.0]
  ANCHOR_SIZES: !!python/tuple [32, 64, 128, 256, 512]
  ANCHOR_STRIDE: 16
  BATCH_PER_IM: 256
  CROWD_OVERLAP_THRESH: 9.99
  FG_RATIO: 0.5
  HEAD_DIM: 1024
  MIN_SIZE: 0
  NEGATIVE_ANCHOR_THRESH: 0.3
  POSITIVE_ANCHOR_THRESH: 0.7
  PROPOSAL_NMS_THRESH: 0.7
  PER_LEVEL_NMS_TOPK: 1000
  TRAIN_PER_LEVEL_NMS_TOPK: 2000
  TRAIN_PRE_NMS_TOPK: 12000
  PRE_NMS_TOPK: 6000
  TRAIN_POST_NMS_TOPK: 2000
  POST_NMS_TOPK: 1000
OUTPUT:
  FRCNN_NMS_THRESH: 0.001
  RESULTS_PER_IM: 100
  RESULT_SCORE_THRESH: 0.1
  NMS_THRESH_CLASS_AGNOSTIC: 0.001
TRAINER: replicated
TRAIN: {LR_SCHEDULE: 4x, WEIGHT_DECAY: 1e-4, LOG_DIR: train_log/maskrcnn}
"""
"""The published layout model's configuration, with its keys and its tags."""
THIN: Changes = {
    "BACKBONE.RESNET_NUM_BLOCKS": [1, 1, 1, 1],
    "FPN.NUM_CHANNEL": 32,
    "FPN.FRCNN_CONV_HEAD_DIM": 32,
    "FPN.FRCNN_FC_HEAD_DIM": 32,
    "PREPROC.SHORT_EDGE_SIZE": 150,
    "PREPROC.MAX_SIZE": 300,
    "PREPROC.PIXEL_MEAN": [90.5, 110.25, 140.75],
    "PREPROC.PIXEL_STD": [50.0, 55.0, 60.0],
    "RPN.ANCHOR_SIZES": (8, 16, 32, 64, 128),
    "RPN.PER_LEVEL_NMS_TOPK": 80,
    "RPN.PRE_NMS_TOPK": 300,
    "RPN.POST_NMS_TOPK": 60,
    "OUTPUT.FRCNN_NMS_THRESH": 0.5,
    "OUTPUT.RESULTS_PER_IM": 30,
    "OUTPUT.NMS_THRESH_CLASS_AGNOSTIC": 0.3,
}
"""The means and deviations differ from one another, so that the order of channels shows."""
RESNET: Changes = {
    "BACKBONE.BOTTLENECK": "resnet",
    "BACKBONE.NORM": "FreezeBN",
    "BACKBONE.TF_PAD_MODE": True,
    "BACKBONE.RESNET_NUM_BLOCKS": [1, 2, 1, 1],
    "FPN.CASCADE": False,
    "FPN.NORM": "None",
    "FPN.PROPOSAL_MODE": "Joint",
    "RPN.ANCHOR_RATIOS": (0.1, 0.5, 1.5),
}
CONVOLUTIONS: Changes = {
    "BACKBONE.NORM": "SyncBN",
    "BACKBONE.TF_PAD_MODE": True,
    "FPN.CASCADE": False,
    "FPN.FRCNN_HEAD_FUNC": "fastrcnn_4conv1fc_gn_head",
    "OUTPUT.NMS_THRESH_CLASS_AGNOSTIC": 0.999,
}
CASES: dict[str, tuple[Changes, ...]] = {
    "deepdoctection-resnext": (THIN,),
    "deepdoctection-resnet": (THIN, RESNET),
    "deepdoctection-convolutions": (THIN, CONVOLUTIONS),
}


def main(out: str, *cases: str) -> None:
    """Make the cases one after another."""
    for asked in cases:
        case, _, seed = asked.partition("=")
        path = Path(case)
        text = path.read_text() if path.suffix == ".yaml" else changed(PUBLISHED, *CASES[case])
        model = Model(text)
        stored = {"seed": np.array(int(seed or 0)), "config": np.array(text)}
        images = {name: thin.picture(_photograph(), name) for name in thin.PICTURES}
        stored |= model.settle(images["chelsea"], int(seed or 0))
        for name, image in images.items():
            found = model.run(image)
            stored |= {f"{name}/{key}": value for key, value in found.items()}
            few = sorted(found["scores"])[::-1][:3]
            print(f"{case}, {name}: {len(found['scores'])} detections, {few}")  # noqa: T201
        np.savez_compressed(Path(out) / f"{path.stem}.npz", allow_pickle=False, **stored)


def changed(text: str, *changes: Changes) -> str:
    """A configuration with other values, as deepdoctection writes it."""
    tree = yaml.load(text, yaml.Loader)  # noqa: S506 (it is the text above)
    for change in changes:
        for key, value in change.items():
            section, _, leaf = key.partition(".")
            tree[section][leaf] = value
    return yaml.dump(tree)


def _photograph() -> Any:
    with (ROOT / "tests/images/chelsea.png").open("rb") as file:
        return np.array(PIL.Image.open(file).convert("RGB"))


class Model:
    """deepdoctection's detector, whose weights are set after it was built."""

    def __init__(self, text: str) -> None:
        import tensorflow as tf
        from deepdoctection.extern.tp.tfutils import disable_tfv2
        from deepdoctection.extern.tpdetect import TPFrcnnDetector

        disable_tfv2()
        tf.compat.v1.reset_default_graph()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "conf_frcnn.yaml"
            path.write_text(text)
            self._detector = TPFrcnnDetector(path, "", CATEGORIES)
        self._session = self._detector.tp_predictor.sess
        self._graph = self._session.graph
        with self._graph.as_default():
            self._session.run(tf.compat.v1.global_variables_initializer())
            self._variables = {v.op.name: v for v in tf.compat.v1.global_variables()}

    def run(self, image: Any) -> dict[str, Any]:
        """What it finds in an image, and its proposals."""
        bgr = np.ascontiguousarray(image[:, :, ::-1])
        found = self._detector.predict(bgr)
        proposals, resized = self._intermediate("generate_fpn_proposals/boxes:0", bgr)
        return {
            "boxes": np.array([r.box for r in found], np.float32).reshape(-1, 4),
            "scores": np.array([r.score for r in found], np.float32),
            "class_ids": np.array([r.class_id for r in found], np.int64),
            "raw_proposal_boxes": proposals,
            "raw_resized_shape": np.array(resized.shape[:2]),
        }

    def settle(self, image: Any, seed: int) -> dict[str, Any]:
        """Give every layer its weights, in the order of the graph; returns what a file holds."""
        bgr = np.ascontiguousarray(image[:, :, ::-1])
        random = np.random.RandomState(seed)
        stored: dict[str, Any] = {}
        for name, variable in self._variables.items():
            leaf = name.rpartition("/")[2]
            if leaf == "W":
                stored |= self._kernel(name, variable, bgr, random, seed)
            elif leaf in ("gamma", "beta"):
                self._set(name, _affine(name, variable.shape.as_list(), random))
        kept = (name for name in self._variables if re.search(r"/(b|gamma|beta|EMA)$", name))
        return stored | {f"value/{name}": self._session.run(self._variables[name]) for name in kept}

    def _kernel(self, name: str, variable: Any, bgr: Any, random: Any, seed: int) -> dict[str, Any]:
        """Set a kernel, its bias and the statistics of its batch norm."""
        layer = name.rpartition("/")[0]
        shape = tuple(reversed(variable.shape.as_list()))
        shape = shape if len(shape) == 2 else (shape[0], shape[1], shape[3], shape[2])
        values = thin.kernel(name, shape, seed)
        self._set(name, _last(values))
        output, _ = self._intermediate(self._output(variable), bgr)
        flat = np.moveaxis(output, 1, 0).reshape(output.shape[1], -1).astype(np.float64)
        wanted = next((s for end, s in SPREAD.items() if layer.endswith(end)), 1.0)
        spread = 1e-3 + flat.std(1)
        factors = (wanted / spread).astype(np.float32)
        self._set(name, _last(thin.scaled(values, factors)))
        shift = -flat.mean(1) * factors
        if f"{layer}/b" in self._variables:
            self._set(f"{layer}/b", shift + 0.3 * random.randn(len(shift)) * wanted)
        if f"{layer}/bn/mean/EMA" in self._variables:
            self._set(f"{layer}/bn/mean/EMA", -shift)
            self._set(f"{layer}/bn/variance/EMA", np.full(len(shift), wanted**2))
        return {f"kernel/{name}": np.array(shape), f"scale/{name}": factors}

    def _output(self, variable: Any) -> str:
        """The output of the first layer that computes with a kernel, before its bias and norm."""
        scope = variable.op.name.rpartition("/")[0]
        names = (
            op.outputs[0].name
            for op in self._graph.get_operations()
            if op.type in ("Conv2D", "MatMul") and re.search(rf"(^|/){scope}(_\d+)?/\w+$", op.name)
        )
        return str(next(names))

    def _set(self, name: str, values: Any) -> None:
        self._variables[name].load(np.asarray(values, np.float32), self._session)

    def _intermediate(self, name: str, bgr: Any) -> tuple[Any, Any]:
        """A tensor of the graph for an image, and the image as the network sees it."""
        from deepdoctection.utils.transform import InferenceResize

        sizes = self._detector.model.cfg.PREPROC
        resize = InferenceResize(sizes.SHORT_EDGE_SIZE, sizes.MAX_SIZE).get_transform(bgr)
        resized = resize.apply_image(bgr)
        return self._session.run(name, {"image:0": resized.astype(np.float32)}), resized


def _last(values: Any) -> Any:
    """A kernel as TensorFlow has it: output channels last."""
    return values.T if values.ndim == 2 else values.transpose(2, 3, 1, 0)


def _affine(name: str, shape: list[int], random: Any) -> Any:
    """Scales and offsets. Blocks add little to what they take, so that rounding stays small."""
    if name.endswith("beta"):
        return 0.3 * random.randn(*shape)
    return (0.3 if "/conv3/" in name else 1.0) * random.uniform(0.5, 1.5, shape)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
