"""The networks of MMDetection that `make_golden_thin.py` makes golden files of.

Runs with MMDetection 3 (MMCV 2) and 2 (MMCV 1), without MMCV's compiled operators: torchvision's
stand in for them.
"""

import sys
import types
from collections.abc import Callable
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from make_golden_pytorch import Run

Changes = dict[str, Any]
Case = tuple[Any, str, Run]
"""Model, configuration as text, and what runs it on an image."""

SCALE = (300, 150)
WIDTHS = [16, 32, 64, 128]
THIN: Changes = {
    "model.backbone.init_cfg": None,
    "model.backbone.base_channels": 4,
    "model.backbone.stem_channels": 8,
    "model.neck.in_channels": WIDTHS,
    "model.neck.out_channels": 32,
    "model.rpn_head.in_channels": 32,
    "model.rpn_head.feat_channels": 32,
    "model.rpn_head.anchor_generator.scales": [2],
    "model.roi_head.bbox_roi_extractor.out_channels": 32,
    "model.test_cfg.rpn.nms_pre": 80,
    "model.test_cfg.rpn.max_per_img": 60,
    "model.test_cfg.rcnn.max_per_img": 30,
}
BOX_HEAD: Changes = {"in_channels": 32, "fc_out_channels": 32, "num_classes": 4}
MASK_HEAD: Changes = {
    "num_convs": 2,
    "in_channels": 32,
    "conv_out_channels": 16,
    "num_classes": 4,
}
RESNEXT: Changes = {
    "model.backbone.depth": 50,
    "model.backbone.groups": 8,
    "model.backbone.base_width": 2,
}
SEVERAL_ANCHORS: Changes = {
    "model.rpn_head.anchor_generator.scales": [2, 3],
    "model.rpn_head.anchor_generator.ratios": [0.4, 1.0, 2.5],
}
AGNOSTIC: Changes = {
    "model.roi_head.bbox_head.reg_class_agnostic": True,
    "model.roi_head.mask_head.class_agnostic": True,
}
GROUP_NORM: Changes = {
    "model.backbone.stem_channels": 32,
    "model.backbone.base_channels": 32,
    "model.neck.in_channels": [128, 256, 512, 1024],
    "model.roi_head.bbox_head.conv_out_channels": 32,
    "model.roi_head.mask_head.conv_out_channels": 32,
}


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


def mmdetection(path: str, *changes: Changes) -> Case:
    """MMDetection's thin model of four classes, of a file in its `configs` folder.

    With `-` in its name for version 3, and `_` for version 2.
    """
    provide_operators()
    import mmdet

    file = str(Path(mmdet.__path__[0], ".mim/configs", path))
    return _version_3(file, changes) if "-" in path else _version_2(file, changes)


def _changed(config: Any, changes: tuple[Changes, ...]) -> None:
    config.merge_from_dict(THIN)
    for part, own in (("bbox_head", BOX_HEAD), ("mask_head", MASK_HEAD)):
        heads = config.model.roi_head.get(part, [])
        for head in heads if isinstance(heads, list) else [heads]:
            head.update(own)
    if config.model.roi_head.get("mask_roi_extractor"):
        config.model.roi_head.mask_roi_extractor.out_channels = 32
    for change in changes:
        config.merge_from_dict(change)


def _version_3(file: str, changes: tuple[Changes, ...]) -> Case:
    from mmdet.apis import inference_detector, init_detector
    from mmengine import Config

    config = Config.fromfile(file)
    _changed(config, changes)
    for pipeline in (config.test_pipeline, config.test_dataloader.dataset.pipeline):
        pipeline[1].scale = SCALE
    text = config.pretty_text
    model = init_detector(config, None, device="cpu")

    def run(image: Any) -> dict[str, Any]:
        seen = _observed(model, "predict", "predict_by_feat", lambda found: found[0].bboxes)
        found = inference_detector(model, np.ascontiguousarray(image[:, :, ::-1])).pred_instances
        arrays = {
            "boxes": found.bboxes.numpy(),
            "scores": found.scores.numpy(),
            "class_ids": found.labels.numpy() + 1,
            **seen,
        }
        if "masks" in found:
            arrays["masks_packed"] = np.packbits(found.masks.numpy(), axis=2)
        return arrays

    return model, text, run


def _version_2(file: str, changes: tuple[Changes, ...]) -> Case:
    from mmcv import Config
    from mmdet.apis import inference_detector, init_detector

    config = Config.fromfile(file)
    _changed(config, changes)
    config.data.test.pipeline[1].img_scale = SCALE
    text = config.pretty_text
    model = init_detector(config, None, device="cpu")

    def run(image: Any) -> dict[str, Any]:
        seen = _observed(model, "simple_test_rpn", "get_seg_masks", lambda found: found[0][:, :4])
        found = inference_detector(model, np.ascontiguousarray(image[:, :, ::-1]))
        boxes, masks = found if isinstance(found, tuple) else (found, None)
        arrays = {
            "boxes": np.concatenate(boxes)[:, :4],
            "scores": np.concatenate(boxes)[:, 4],
            "class_ids": np.repeat(np.arange(len(boxes)), [len(own) for own in boxes]) + 1,
            **seen,
        }
        if masks is not None:
            bitmaps = np.array([mask for of_class in masks for mask in of_class])
            arrays["masks_packed"] = np.packbits(bitmaps, axis=2)
            # Sorted by class, as the others are.
            order = np.argsort(seen.pop("labels"), kind="stable")
            arrays["raw_masks"] = seen["raw_masks"][order]
        return arrays

    return model, text, run


def _observed(model: Any, propose: str, paste: str, boxes: Callable[[Any], Any]) -> dict[str, Any]:
    """What the model's next run computes in between: its proposals and soft masks."""
    seen: dict[str, Any] = {}
    rpn, own = model.rpn_head, getattr(type(model.rpn_head), propose)

    def proposed(*given: Any, **named: Any) -> Any:
        found = own(rpn, *given, **named)
        seen["raw_proposal_boxes"] = boxes(found).clone().numpy()
        return found

    setattr(rpn, propose, proposed)
    if not model.with_mask:
        return seen
    heads = model.roi_head.mask_head
    head = heads[-1] if isinstance(heads, torch.nn.ModuleList) else heads
    pasting = getattr(type(head), paste)

    def pasted(mask_preds: Any, *given: Any, **named: Any) -> Any:
        if paste == "predict_by_feat":
            labels = named["results_list"][0].labels
            soft, active = mask_preds[0], named.get("activate_map", False)
        else:
            labels, active = given[1], not isinstance(mask_preds, torch.Tensor)
            soft = torch.as_tensor(mask_preds)
            seen["labels"] = labels.numpy()
        soft = soft if active else soft.sigmoid()
        channels = labels * 0 if soft.shape[1] == 1 else labels
        seen["raw_masks"] = soft[range(len(soft)), channels].numpy().astype(np.float16)
        return pasting(head, mask_preds, *given, **named)

    setattr(head, paste, pasted)
    return seen


CASES: dict[str, Callable[[], Case]] = {
    "mmdetection-fpn": partial(mmdetection, "mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"),
    "mmdetection-resnext": partial(
        mmdetection, "mask_rcnn/mask-rcnn_x101-32x8d_fpn_1x_coco.py", RESNEXT
    ),
    "mmdetection-cascade": partial(
        mmdetection, "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py"
    ),
    "mmdetection-boxes": partial(mmdetection, "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"),
    "mmdetection-anchors": partial(
        mmdetection, "mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py", SEVERAL_ANCHORS, AGNOSTIC
    ),
    "mmdetection-gn": partial(mmdetection, "gn/mask-rcnn_r50_fpn_gn-all_2x_coco.py", GROUP_NORM),
    "mmdetection-2-caffe": partial(mmdetection, "mask_rcnn/mask_rcnn_r50_caffe_fpn_1x_coco.py"),
    "mmdetection-2-cascade": partial(
        mmdetection, "cascade_rcnn/cascade_mask_rcnn_r50_fpn_1x_coco.py"
    ),
}
