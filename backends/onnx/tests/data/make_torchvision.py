#!/usr/bin/env python3
"""Export small Mask R-CNNs of torchvision, and write what torchvision finds with them.

    make_torchvision.py PICTURE...

Writes torchvision.onnx, torchvision-batch.onnx and, of each picture, torchvision-NAME.npz beside
itself. See NOTICE.md for the versions.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

HERE = Path(__file__).resolve().parent
CHANNELS, CLASSES = 8, 91
OUTPUTS = ["boxes", "labels", "scores", "masks"]


def model() -> MaskRCNN:
    """torchvision's own, but for a backbone of three convolutions, with seeded weights."""
    torch.manual_seed(7)
    layers: list[nn.Module] = []
    for into in (3, CHANNELS, CHANNELS):
        layers += [nn.Conv2d(into, CHANNELS, 3, stride=2, padding=1), nn.ReLU()]
    backbone: Any = nn.Sequential(*layers)
    backbone.out_channels = CHANNELS
    made = MaskRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(((24, 48, 96),), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
        box_head=TwoMLPHead(CHANNELS * 49, 16),
        box_predictor=FastRCNNPredictor(16, CLASSES),
        mask_roi_pool=MultiScaleRoIAlign(["0"], 14, 2),
        mask_head=MaskRCNNHeads(CHANNELS, (CHANNELS,), 1),
        mask_predictor=MaskRCNNPredictor(CHANNELS, CHANNELS, CLASSES),
        min_size=160,
        max_size=240,
        rpn_post_nms_top_n_test=40,
        box_detections_per_img=12,
    )
    with torch.no_grad():
        # As they are, weights find nothing: all classes score the same.
        for name, weight in made.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(weight)
        made.roi_heads.box_predictor.cls_score.weight *= 6
        made.roi_heads.box_predictor.bbox_pred.weight *= 0.3
        made.rpn.head.bbox_pred.weight *= 0.1
        made.roi_heads.mask_predictor.mask_fcn_logits.weight *= 2
    return made.eval()


def pixels(picture: str) -> torch.Tensor:
    rgb = np.array(Image.open(picture).convert("RGB"))
    return torch.from_numpy(rgb).permute(2, 0, 1).float() / 255


def main() -> None:
    network = model()
    for picture in sys.argv[1:]:
        with torch.no_grad():
            (found,) = network([pixels(picture)])
        np.savez_compressed(
            HERE / f"torchvision-{Path(picture).stem}.npz",
            allow_pickle=False,
            boxes=found["boxes"],
            scores=found["scores"],
            labels=found["labels"],
            masks_packed=np.packbits(found["masks"][:, 0].numpy() >= 0.5, axis=2),
        )
    image = pixels(sys.argv[1])
    torch.onnx.export(
        network,
        ([image],),
        HERE / "torchvision.onnx",
        dynamo=False,
        opset_version=17,
        input_names=["image"],
        output_names=OUTPUTS,
        dynamic_axes={"image": {1: "height", 2: "width"}},
    )
    torch.onnx.export(
        network,
        (image[None],),
        HERE / "torchvision-batch.onnx",
        dynamo=False,
        opset_version=11,
        input_names=["input"],
        dynamic_axes={"input": {0: "batch", 2: "height", 3: "width"}},
    )


if __name__ == "__main__":
    main()
