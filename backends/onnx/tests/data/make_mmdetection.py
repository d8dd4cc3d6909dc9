#!/usr/bin/env python3
"""Export a small Mask R-CNN of MMDetection by its own exporter or by MMDeploy.

    make_mmdetection.py mmdetection PICTURE          # mmdet 2, mmcv 1
    make_mmdetection.py mmdeploy PICTURE CONFIGS     # mmdet 3, mmcv 2; afterwards

The first writes weights.pth, mmdetection.onnx, and what MMDetection finds in the picture as it is
and turned by a quarter (mmdetection-upright.npz, mmdetection-turned.npz); the second mmdeploy.onnx,
with the same weights; all beside itself. `CONFIGS` is the folder `configs` of MMDeploy. See
NOTICE.md for the versions. weights.pth is not kept.
"""

import runpy
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import nn

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE / "weights.pth"
SEED = 3
SCALE = 192, 128
"""To which the picture is resized without padding. In that, exported models may find something."""
SMALL = {
    "model.backbone.depth": 18,
    "model.backbone.base_channels": 4,
    "model.backbone.stem_channels": 4,
    "model.backbone.init_cfg": None,
    "model.neck.in_channels": [4, 8, 16, 32],
    "model.neck.out_channels": 8,
    "model.rpn_head.in_channels": 8,
    "model.rpn_head.feat_channels": 8,
    "model.roi_head.bbox_roi_extractor.out_channels": 8,
    "model.roi_head.mask_roi_extractor.out_channels": 8,
    "model.roi_head.bbox_head.in_channels": 8,
    "model.roi_head.bbox_head.fc_out_channels": 16,
    # Both exporters take one box of each region, and so find less with a box for each class.
    "model.roi_head.bbox_head.reg_class_agnostic": True,
    "model.roi_head.mask_head.in_channels": 8,
    "model.roi_head.mask_head.conv_out_channels": 8,
    "model.roi_head.mask_head.num_convs": 1,
    "model.test_cfg.rpn.max_per_img": 40,
    "model.test_cfg.rcnn.max_per_img": 10,
}
SCALES = {
    "roi_head.bbox_head.fc_cls.weight": 0.15,
    "roi_head.bbox_head.fc_reg.weight": 0.05,
    "roi_head.mask_head.conv_logits.weight": 0.1,
    "rpn_head.rpn_cls.weight": 0.02,
    "rpn_head.rpn_reg.weight": 0.02,
}
"""For scores, boxes and masks of which not all are alike."""


def provide_operators() -> None:
    """What a Mask R-CNN needs of MMCV's compiled operators, by torchvision's."""

    def roi_align_forward(image: Any, rois: Any, output: Any, *_: Any, **options: Any) -> None:
        size = options["aligned_height"], options["aligned_width"]
        names = ("spatial_scale", "sampling_ratio", "aligned")
        values = [options[name] for name in names]
        output.copy_(torchvision.ops.roi_align(image, rois, size, *values))

    class Operators(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return None

    made: Any = Operators("mmcv._ext")
    made.__spec__ = ModuleSpec("mmcv._ext", None)
    made.nms = lambda boxes, scores, iou_threshold, **_: torchvision.ops.nms(
        boxes, scores, iou_threshold
    )
    made.roi_align_forward = roi_align_forward
    sys.modules["mmcv._ext"] = made


def mmdetection(picture: str) -> None:
    import mmdet
    from mmcv import Config, imread
    from mmdet.apis import inference_detector, init_detector

    tools = Path(mmdet.__path__[0], ".mim")
    config = Config.fromfile(tools / "configs/mask_rcnn/mask_rcnn_r50_fpn_1x_coco.py")
    config.merge_from_dict(SMALL)
    config.data.test.pipeline[1].img_scale = SCALE
    torch.manual_seed(SEED)
    model = init_detector(config, None, device="cpu")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("weight") and weight.ndim > 1:
                nn.init.kaiming_normal_(weight)
                weight.mul_(SCALES.get(name, 1))
    torch.save({"state_dict": model.state_dict(), "meta": {}}, WEIGHTS)
    upright = imread(picture)
    for name, image in (("upright", upright), ("turned", np.rot90(upright).copy())):
        boxes, masks = inference_detector(model, image)
        bitmaps = np.array([mask for of_class in masks for mask in of_class])
        np.savez_compressed(
            HERE / f"mmdetection-{name}.npz",
            allow_pickle=False,
            boxes=np.concatenate(boxes)[:, :4],
            scores=np.concatenate(boxes)[:, 4],
            labels=np.repeat(np.arange(len(boxes)), [len(b) for b in boxes]),
            masks_packed=np.packbits(bitmaps, axis=2),
        )
    config.dump(str(WEIGHTS.with_suffix(".py")))
    target = HERE / "mmdetection.onnx"
    sys.argv = [
        "pytorch2onnx.py",
        str(WEIGHTS.with_suffix(".py")),
        str(WEIGHTS),
        "--dynamic-export",
    ]
    sys.argv += ["--input-img", picture, "--shape", "128", "192", "--output-file", str(target)]
    runpy.run_path(str(tools / "tools/deployment/pytorch2onnx.py"), run_name="__main__")


def mmdeploy(picture: str, configs: str) -> None:
    import mmdet
    from mmdeploy.apis import torch2onnx
    from mmengine import Config

    tools = Path(mmdet.__path__[0], ".mim")
    config = Config.fromfile(tools / "configs/mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py")
    config.merge_from_dict(SMALL)
    config.test_dataloader.dataset.pipeline[1].scale = SCALE
    config.test_pipeline[1].scale = SCALE
    how = Path(configs, "mmdet/instance-seg/instance-seg_onnxruntime_dynamic.py")
    torch2onnx(picture, str(HERE), "mmdeploy.onnx", str(how), config, str(WEIGHTS), device="cpu")


if __name__ == "__main__":
    provide_operators()
    if sys.argv[1] == "mmdetection":
        mmdetection(sys.argv[2])
    else:
        mmdeploy(sys.argv[2], sys.argv[3])
