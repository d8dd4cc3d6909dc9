"""Configurations as MMDetection keeps them in checkpoints and in files."""

import ast
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import thin
from mmdetection_files import CLASSES, save

from maskrcnn_mmdetection.backend import FILES, MMDetectionBackend
from maskrcnn_mmdetection.preparation import WithinScale
from maskrcnn_server.backend import ModelConfig, Probe

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def config(file: Path) -> str:
    return thin.config(file)


Asked = Callable[[str], Probe]


@pytest.fixture
def probe(file: Path, tmp_path: Path) -> Asked:
    """What the backend says of the thin network with a configuration in its file."""

    def asked(config: str, version: int = 3) -> Probe:
        save(tmp_path / "epoch_12.pth", thin.weights(file), config, version)
        found = MMDetectionBackend().probe(ModelConfig(model_dir=tmp_path))
        assert found is not None
        return found

    return asked


def changed(config: str, key: str, value: str) -> str:
    """A configuration with another value at a path, below `model` unless it says otherwise."""
    tree = ast.parse(config)
    *above, last = key.split(".")
    node = next(s.value for s in tree.body if isinstance(s, ast.Assign) if named(s) == above[0])
    for part in above[1:]:
        assert isinstance(node, ast.Call)
        node = next(word.value for word in node.keywords if word.arg == part)
    assert isinstance(node, ast.Call)
    new = ast.keyword(last, ast.parse(value, mode="eval").body)
    node.keywords = [word for word in node.keywords if word.arg != last] + [new]
    return ast.unparse(ast.fix_missing_locations(tree))


def named(statement: ast.Assign) -> str:
    target = statement.targets[0]
    return target.id if isinstance(target, ast.Name) else ""


def test_the_configuration_and_the_class_names_are_read_from_the_file(model_dir: Path) -> None:
    folder = MMDetectionBackend().read(ModelConfig(model_dir=model_dir))
    assert not folder.problems
    assert not folder.notes
    assert [category.name for category in folder.categories] == list(CLASSES)
    assert folder.facts["resize"] == "short edge 150, long edge at most 300 pixels"
    assert "model.test_cfg.rpn.nms_pre=80" in folder.facts["from epoch_12.pth"]
    assert folder.config.rgb_mean == (123.675, 116.28, 103.53)
    assert folder.config.level_sizes == ((8,), (16,), (32,), (64,), (128,))


def test_version_2_is_read_with_the_order_of_its_channels(test_data: Path, tmp_path: Path) -> None:
    file = test_data / "golden/thin/mmdetection-2-caffe.npz"
    save(tmp_path / "latest.pth", thin.weights(file), thin.config(file), 2)
    folder = MMDetectionBackend().read(ModelConfig(model_dir=tmp_path))
    assert not folder.problems
    assert [category.name for category in folder.categories] == list(CLASSES)
    assert folder.config.channels == "BGR"
    assert folder.config.pixel_mean == (103.53, 116.28, 123.675)
    assert folder.config.rgb_mean == (123.675, 116.28, 103.53)
    assert folder.config.stride_1x1
    assert (folder.config.short_edge, folder.config.long_edge) == (150, 300)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model.type", "'QueryInst'", "model.type=QueryInst, but only MaskRCNN or"),
        ("model.type", "'mmdet.models.MaskScoringRCNN'", "model.type=MaskScoringRCNN, but"),
        ("model.roi_head.type", "'HybridTaskCascadeRoIHead'", "only StandardRoIHead or Cascade"),
        ("model.backbone.type", "'SwinTransformer'", "only ResNet or ResNeXt is computed"),
        ("model.backbone.dcn", "dict(type='DCNv2')", "model.backbone.dcn={'type': 'DCNv2'}, but"),
        (
            "model.backbone.plugins",
            "[dict(cfg=dict(type='ContextBlock'))]",
            "model.backbone.plugins=",
        ),
        ("model.backbone.deep_stem", "True", "model.backbone.deep_stem=True"),
        ("model.neck.type", "'PAFPN'", "model.neck.type=PAFPN, but only FPN"),
        ("model.rpn_head.type", "'GARPNHead'", "model.rpn_head.type=GARPNHead"),
        (
            "model.rpn_head.anchor_generator.type",
            "'LegacyAnchorGenerator'",
            "only AnchorGenerator is computed",
        ),
        ("model.roi_head.shared_head", "dict(type='ResLayer')", "model.roi_head.shared_head="),
        ("model.roi_head.bbox_head.type", "'DoubleConvFCBBoxHead'", "bbox_head.type=Double"),
        ("model.roi_head.bbox_head.bbox_coder.type", "'BucketingBBoxCoder'", "only DeltaXYWH"),
        ("model.roi_head.bbox_head.loss_cls.type", "'SeesawLoss'", "loss_cls.type=SeesawLoss"),
        ("model.roi_head.mask_head.type", "'CoarseMaskHead'", "only FCNMaskHead is computed"),
        ("model.roi_head.mask_roi_extractor", "None", "output_size=that of bbox_roi_extractor"),
        (
            "model.roi_head.bbox_roi_extractor.roi_layer.sampling_ratio",
            "2",
            "sampling_ratio=2, but only 0",
        ),
        ("model.test_cfg.rcnn.nms.type", "'soft_nms'", "nms.type=soft_nms, but only nms"),
        ("model.test_cfg.rcnn.mask_thr_binary", "0.4", "mask_thr_binary=0.4, but only 0.5"),
        ("model.data_preprocessor.pad_size_divisor", "1", "pad_size_divisor=1, but only 32"),
        ("model.test_cfg.rpn.max_per_img", "0", "model.test_cfg.rpn.max_per_img=0: Input should"),
        ("model.backbone.depth", "101", "depth is configured as (3, 4, 23, 3), but the weights"),
        ("model.neck.norm_cfg", "dict(type='IN')", "model.neck.norm_cfg.type=IN, but only BN"),
        (
            "test_dataloader.dataset.pipeline",
            "[dict(type='Resize', scale=(300, 150), keep_ratio=False)]",
            "test_pipeline.Resize.keep_ratio=False, but only True",
        ),
        (
            "test_dataloader.dataset.pipeline",
            "[dict(type='PhotoMetricDistortion')]",
            "test_pipeline: PhotoMetricDistortion is not computed",
        ),
    ],
)
def test_what_is_computed_otherwise_is_refused_by_name(
    key: str, value: str, said: str, config: str, probe: Asked
) -> None:
    (problem,) = probe(changed(config, key, value)).problems
    assert said in problem


def test_a_refusal_needs_no_tensors_that_are_known(tmp_path: Path) -> None:
    weights = {"backbone.patch_embed.projection.weight": np.zeros((4, 3, 4, 4), np.float32)}
    save(tmp_path / "epoch_36.pth", weights, "model = dict(type='Mask2Former')")
    found = MMDetectionBackend().probe(ModelConfig(model_dir=tmp_path))
    assert found is not None
    assert "model.type=Mask2Former, but only MaskRCNN" in found.problems[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.type", "'mmdet.models.detectors.mask_rcnn.MaskRCNN'"),
        ("model.train_cfg.rcnn.sampler.type", "'OHEMSampler'"),
        ("model.backbone.norm_cfg", "dict(type='SyncBN', eps=1e-05)"),
        ("model.backbone.init_cfg", "dict(type='Pretrained', checkpoint='torchvision://resnet50')"),
        ("model.roi_head.bbox_head.loss_bbox", "dict(type='GIoULoss')"),
        ("optim_wrapper.optimizer", "build_optimizer(lr=0.1)"),
    ],
)
def test_training_does_not_matter(key: str, value: str, config: str, probe: Asked) -> None:
    assert not probe(changed(config, key, value)).problems


def test_nothing_in_a_configuration_is_executed(config: str, probe: Asked, tmp_path: Path) -> None:
    touch = f"__import__('pathlib').Path({str(tmp_path / 'touched')!r}).touch()"
    found = probe(f"{config}\nx = {touch}\nmodel['neck'] = {touch}\nif True:\n    {touch}\n")
    assert not found.problems
    assert not (tmp_path / "touched").exists()


def test_a_text_that_is_not_python_is_named_in_a_note(probe: Asked) -> None:
    found = probe("configs/mask_rcnn.py\n= broken")
    assert not found.problems
    assert "its configuration is not read" in found.notes[0]


def test_a_configuration_beside_the_file_has_precedence(model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "epoch_12.pth").symlink_to(model_dir / "epoch_12.pth")
    (tmp_path / "config.py").write_text(
        "edge = 64\nrpn = dict(nms_pre=10 * edge, nms_post=70, nms_thr=0.6)\n"
        "model = dict(rpn_head=dict(anchor_generator=dict(scales=[2])))\n"
        "test_cfg = dict(rpn=rpn, rcnn=dict(max_per_img=7))\n"
    )
    config = MMDetectionBackend().read(ModelConfig(model_dir=tmp_path)).config
    assert (config.level_candidates, config.proposals, config.detections) == (640, 70, 7)
    assert config.proposal_nms_threshold == 0.6
    assert config.pyramid == 32


def test_a_base_is_named_in_a_note(model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "epoch_12.pth").symlink_to(model_dir / "epoch_12.pth")
    (tmp_path / "config.py").write_text("_base_ = './mask-rcnn_r50_fpn_1x_coco.py'\n")
    found = MMDetectionBackend().probe(ModelConfig(model_dir=tmp_path))
    assert found is not None
    assert "config.py is based on ./mask-rcnn_r50_fpn_1x_coco.py" in found.notes[0]


def test_without_a_configuration_the_defaults_are_assumed(file: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "model.npz", allow_pickle=False, **thin.weights(file))
    folder = MMDetectionBackend().read(ModelConfig(model_dir=tmp_path))
    assert not folder.problems
    assert "model.backbone.style=pytorch" in folder.facts["from defaults, assumed"]


def test_averaged_weights_are_served(file: Path, tmp_path: Path) -> None:
    """`EMAHook` keeps those of the last iteration beside them."""
    import torch

    weights = thin.weights(file)
    other = {f"module.{name}": torch.zeros(value.shape) for name, value in weights.items()}
    state = {name: torch.from_numpy(np.asarray(value)) for name, value in weights.items()}
    meta = {"cfg": thin.config(file)}
    content = {"meta": meta, "state_dict": state, "ema_state_dict": other}
    torch.save(content, tmp_path / "epoch_12.pth")
    folder = MMDetectionBackend().read(ModelConfig(model_dir=tmp_path))
    np.testing.assert_array_equal(
        folder.checkpoint.read("rpn/class/b"), weights["rpn_head.rpn_cls.bias"]
    )


def test_the_last_epoch_is_served(tmp_path: Path) -> None:
    for name in ("epoch_9.pth", "epoch_12.pth", "best_coco_bbox_mAP_epoch_11.pth"):
        (tmp_path / name).write_bytes(pickle.dumps({}))
    assert FILES.find(tmp_path)[-1].path.name == "epoch_12.pth"
    (tmp_path / "latest.pth").symlink_to("epoch_12.pth")
    assert FILES.find(tmp_path)[-1].path.name == "latest.pth"


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((88, 176), (667, 1333)), ((298, 596), (666, 1333)), ((480, 640), (800, 1067))],
)
def test_sizes_are_rounded_as_mmcv_rounds_them(
    size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    """Computed with MMCV 2.1.0's `rescale_size`."""
    rule = WithinScale(short_edge=800, long_edge=1333, mean=(0, 0, 0))
    assert rule.resized_size(size) == wanted


def test_a_converted_checkpoint_is_the_same_model(model_dir: Path, tmp_path: Path) -> None:
    config = ModelConfig(model_dir=model_dir)
    MMDetectionBackend().converters()["npz"](config, tmp_path / "out")
    ours = MMDetectionBackend().read(ModelConfig(model_dir=tmp_path / "out"))
    theirs = MMDetectionBackend().read(config)
    assert ours.config == theirs.config
    assert ours.categories == theirs.categories
    assert (ours.checkpoint.read("conv0/W") == theirs.checkpoint.read("conv0/W")).all()
