#!/usr/bin/env python3
"""Compute golden files with torchvision's or Detectron2's own code.

    make_golden_pytorch.py CONFIGS OUT CASE ...

CONFIGS is the `configs` folder of a clone of Detectron2 (any folder for torchvision alone); OUT
gets the files. A CASE is FRAMEWORK-ARCHITECTURE-PHOTOGRAPH, such as detectron2-resnet50-chelsea,
with the architectures of tests/golden/torch_weights.py. Needs torch, torchvision and, for its
cases, detectron2.

Each file holds `boxes` (in the photograph), `scores`, `class_ids` (from 1), `masks_packed`
(`np.packbits` along rows), and of the network `raw_masks`, `raw_proposal_boxes` and
`raw_resized_shape`.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/golden"))

from torch_weights import PIXEL_STD_BGR, state_dict  # noqa: E402

CLASSES = 81
"""With the background."""
Run = Callable[[Any], dict[str, Any]]


def main(configs: str, out: str, *cases: str) -> None:
    """Make the cases one after another."""
    for case in cases:
        framework, rest = case.split("-", 1)
        architecture, photograph = rest.rsplit("-", 1)
        with Path(ROOT / "tests/images" / f"{photograph}.png").open("rb") as file:
            image = np.array(PIL.Image.open(file).convert("RGB"))
        if framework == "torchvision":
            run = torchvision(architecture)
        else:
            run = detectron2(architecture, Path(configs))
        with torch.no_grad():
            arrays = run(image)
        np.savez_compressed(Path(out) / f"{case}.npz", allow_pickle=False, **arrays)
        print(f"{case}: {len(arrays['scores'])} detections")  # noqa: T201 (it is a script)


def torchvision(architecture: str) -> Run:
    """torchvision's model of 80 classes."""
    from torchvision.models import detection

    if architecture == "resnet101":
        body = detection.backbone_utils.resnet_fpn_backbone(
            backbone_name="resnet101", weights=None, trainable_layers=0
        )
        model = detection.MaskRCNN(body, CLASSES)
    else:
        make = {
            "resnet50": detection.maskrcnn_resnet50_fpn,
            "resnet50_v2": detection.maskrcnn_resnet50_fpn_v2,
        }[architecture]
        model = make(weights=None, weights_backbone=None, num_classes=CLASSES)
    _load(model, state_dict("torchvision", architecture))
    return run_torchvision(model)


def run_torchvision(model: Any) -> Run:
    """A model of torchvision."""

    def run(image: Any) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        model.transform.register_forward_hook(lambda _m, _i, out: seen.update(images=out[0]))
        model.rpn.register_forward_hook(lambda _m, _i, out: seen.update(rpn=out[0][0].clone()))
        model.roi_heads.register_forward_hook(
            lambda _m, _i, out: seen.update({k: v.clone() for k, v in out[0][0].items()})
        )
        (found,) = model([torch.from_numpy(image).permute(2, 0, 1).float() / 255])
        arrays = {
            "boxes": found["boxes"].numpy(),
            "scores": found["scores"].numpy(),
            "class_ids": found["labels"].numpy(),
            "raw_proposal_boxes": seen["rpn"].numpy(),
            "raw_resized_shape": np.array(seen["images"].image_sizes[0]),
        }
        if "masks" in found:
            bitmaps = (found["masks"][:, 0] >= 0.5).numpy()
            arrays["masks_packed"] = np.packbits(bitmaps, axis=2)
            arrays["raw_masks"] = seen["masks"][:, 0].numpy().astype(np.float16)
        return arrays

    return run


def detectron2(architecture: str, configs: Path) -> Run:
    """Detectron2's model, driven as its `DefaultPredictor` does."""
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    config = get_cfg()
    depth = architecture.rpartition("resnet")[2]
    config.merge_from_file(
        str(configs / f"COCO-InstanceSegmentation/mask_rcnn_R_{depth}_FPN_3x.yaml")
    )
    config.MODEL.DEVICE = "cpu"
    if not architecture.startswith("caffe"):
        config.MODEL.PIXEL_STD = PIXEL_STD_BGR.tolist()
        config.MODEL.RESNETS.STRIDE_IN_1X1 = False
    model = build_model(config)
    _load(model, state_dict("detectron2", architecture))
    return run_detectron2(model, config)


def run_detectron2(model: Any, config: Any) -> Run:
    """A model of Detectron2 with its configuration."""
    from detectron2.data.transforms import ResizeShortestEdge
    from detectron2.modeling.postprocessing import detector_postprocess

    resize = ResizeShortestEdge([config.INPUT.MIN_SIZE_TEST] * 2, config.INPUT.MAX_SIZE_TEST)

    def run(image: Any) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        model.proposal_generator.register_forward_hook(
            lambda _m, _i, out: seen.update(rpn=out[0][0].proposal_boxes.tensor.clone())
        )
        bgr = image[:, :, ::-1]
        height, width = bgr.shape[:2]
        pixels = resize.get_transform(bgr).apply_image(bgr).astype("float32").transpose(2, 0, 1)
        asked = {"image": torch.as_tensor(pixels), "height": height, "width": width}
        (found,) = model.inference([asked], do_postprocess=False)
        soft = found.pred_masks[:, 0].clone() if found.has("pred_masks") else None
        found.index = torch.arange(len(found))
        answer = detector_postprocess(found, height, width)
        arrays = {
            "boxes": answer.pred_boxes.tensor.numpy(),
            "scores": answer.scores.numpy(),
            "class_ids": answer.pred_classes.numpy() + 1,
            "raw_proposal_boxes": seen["rpn"].numpy(),
            "raw_resized_shape": np.array(pixels.shape[1:]),
        }
        if soft is not None:
            arrays["raw_masks"] = soft[answer.index].numpy().astype(np.float16)
            arrays["masks_packed"] = np.packbits(answer.pred_masks.numpy(), axis=2)
        return arrays

    return run


def _load(model: Any, values: dict[str, Any]) -> None:
    """Load all weights; what the model keeps beside them (means, counters) is its own."""
    own = model.state_dict()
    model.load_state_dict({**own, **{k: torch.from_numpy(v) for k, v in values.items()}})
    model.eval()


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
