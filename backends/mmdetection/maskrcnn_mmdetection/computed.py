"""What is computed of MMDetection's components: other values of these keys are refused by name."""

from collections.abc import Mapping

NORMS = ("BN", "SyncBN", "MMSyncBN", "naiveSyncBN", "GN")
_CODER = {
    "type": ("DeltaXYWHBBoxCoder",),
    "target_means": ([0, 0, 0, 0],),
    "clip_border": (True,),
    "add_ctr_clamp": (False,),
}
_EXTRACTOR = {
    "type": ("SingleRoIExtractor",),
    "roi_layer.type": ("RoIAlign",),
    "roi_layer.sampling_ratio": (0,),
    "roi_layer.aligned": (True,),
    "roi_layer.pool_mode": ("avg",),
    "featmap_strides": ([4, 8, 16, 32],),
    "finest_scale": (56,),
}
_PARTS: Mapping[str, Mapping[str, tuple[object, ...]]] = {
    "model": {"type": ("MaskRCNN", "FasterRCNN", "CascadeRCNN")},
    "model.data_preprocessor": {
        "type": ("DetDataPreprocessor",),
        "pad_size_divisor": (32,),
        "pad_value": (0,),
        "rgb_to_bgr": (False,),
    },
    "model.backbone": {
        "type": ("ResNet", "ResNeXt"),
        "num_stages": (4,),
        "strides": ([1, 2, 2, 2],),
        "dilations": ([1, 1, 1, 1],),
        "out_indices": ([0, 1, 2, 3],),
        "deep_stem": (False,),
        "avg_down": (False,),
        "dcn": (None,),
        "plugins": (None,),
        "conv_cfg": (None,),
    },
    "model.neck": {
        "type": ("FPN",),
        "start_level": (0,),
        "end_level": (-1,),
        "num_outs": (5,),
        "add_extra_convs": (False,),
        "act_cfg": (None,),
        "conv_cfg": (None,),
        "upsample_cfg.mode": ("nearest",),
    },
    "model.rpn_head": {
        "type": ("RPNHead",),
        "anchor_generator.type": ("AnchorGenerator",),
        "anchor_generator.strides": ([4, 8, 16, 32, 64],),
        "anchor_generator.base_sizes": (None, [4, 8, 16, 32, 64]),
        "anchor_generator.octave_base_scale": (None,),
        "anchor_generator.centers": (None,),
        "anchor_generator.center_offset": (0,),
        "loss_cls.use_sigmoid": (True,),
        **{f"bbox_coder.{key}": allowed for key, allowed in _CODER.items()},
    },
    "model.roi_head": {
        "type": ("StandardRoIHead", "CascadeRoIHead"),
        "num_stages": (3,),
        "shared_head": (None,),
        "bbox_roi_extractor.roi_layer.output_size": (7,),
        "mask_roi_extractor.roi_layer.output_size": (14,),
        **{f"bbox_roi_extractor.{key}": allowed for key, allowed in _EXTRACTOR.items()},
        **{f"mask_roi_extractor.{key}": allowed for key, allowed in _EXTRACTOR.items()},
    },
    "model.roi_head.bbox_head": {
        "type": ("Shared2FCBBoxHead", "Shared4Conv1FCBBoxHead", "ConvFCBBoxHead"),
        "roi_feat_size": (7,),
        "with_avg_pool": (False,),
        "conv_cfg": (None,),
        "loss_cls.type": ("CrossEntropyLoss",),
        "cls_predictor_cfg.type": ("Linear",),
        "reg_predictor_cfg.type": ("Linear",),
        **{f"bbox_coder.{key}": allowed for key, allowed in _CODER.items()},
    },
    "model.roi_head.mask_head": {
        "type": ("FCNMaskHead",),
        "roi_feat_size": (14,),
        "conv_kernel_size": (3,),
        "conv_cfg": (None,),
        "upsample_cfg.type": ("deconv",),
        "upsample_cfg.scale_factor": (2,),
        "predictor_cfg.type": ("Conv",),
    },
    "model.test_cfg.rpn": {"nms_across_levels": (False,), "nms.type": ("nms",)},
    "model.test_cfg.rcnn": {"nms.type": ("nms",), "mask_thr_binary": (0.5,)},
    "test_pipeline": {
        "MultiScaleFlipAug.flip": (False,),
        "Pad.size": (None,),
        "LoadImageFromFile.to_float32": (False,),
        "LoadImageFromFile.color_type": ("color",),
        "Resize.keep_ratio": (True,),
        "Resize.interpolation": ("bilinear",),
        "Resize.backend": ("cv2",),
    },
}
ONLY: Mapping[str, tuple[object, ...]] = {
    f"{part}.{key}": allowed for part, keys in _PARTS.items() for key, allowed in keys.items()
} | {
    f"model.{part}.norm_cfg.{key}": allowed
    for part in ("backbone", "neck", "roi_head.bbox_head", "roi_head.mask_head")
    for key, allowed in (("type", NORMS), ("num_groups", (32,)))
}
"""Values that are computed, by the key of which nothing else is."""
TRANSFORMS = frozenset(
    "LoadImageFromFile Resize LoadAnnotations PackDetInputs RandomFlip Normalize Pad ImageToTensor "
    "DefaultFormatBundle Collect MultiScaleFlipAug".split()
)
"""Steps of test pipelines that are computed, or change nothing."""
