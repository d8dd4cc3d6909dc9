"""The networks on which engines are held against NumPy."""

from dataclasses import replace

import numpy as np
import pytest

from maskrcnn_aws_samples.config import AwsSamplesConfig
from maskrcnn_aws_samples.rules import rules as aws_samples_rules
from maskrcnn_detectron2.config import Detectron2Config
from maskrcnn_detectron2.rules import rules as detectron2_rules
from maskrcnn_matterport.config import MatterportConfig
from maskrcnn_matterport.rules import rules as matterport_rules
from maskrcnn_mmdetection.config import MMDetectionConfig
from maskrcnn_mmdetection.rules import rules as mmdetection_rules
from maskrcnn_network.architecture import read_off
from maskrcnn_network.graph.rules import Rules
from maskrcnn_network.tensorpack_config import TensorPackConfig
from maskrcnn_network.testing import networks
from maskrcnn_network.testing.networks import KINDS, SmallNetwork, small_network
from maskrcnn_network.testing.numpy_operations import Array, NumPyOperations, overlaps
from maskrcnn_network.testing.reference import EVERYTHING, IMAGES, batch_sizes, expected, size_of
from maskrcnn_server.rle import Size
from maskrcnn_tensorpack.rules import rules as tensorpack_rules
from maskrcnn_torchvision.config import TorchvisionConfig
from maskrcnn_torchvision.rules import rules as torchvision_rules

NEEDED = {"iou": 2e-4, "order": 2e-5, "rank": 2e-5, "octave": 1e-3, "side": 1e-3, "score": 1e-4}
"""By which margin decisions must be made: what engines differ by is a tenth of it."""


class Margins(NumPyOperations):
    """Notes how near each decision of a network is to another one."""

    def __init__(self, small: SmallNetwork) -> None:
        super().__init__(small.network.folded(small.variables, channels_last=True))
        self._sides = {*small.network.rules.min_sides, small.network.config.min_detection_side}
        self.margins = dict.fromkeys(NEEDED, np.inf)
        self.octaves: set[int] = set()

    def note(self, decision: str, distances: Array) -> None:
        least = np.abs(distances[np.isfinite(distances)]).min(initial=np.inf)
        self.margins[decision] = min(self.margins[decision], least)

    def floor(self, x: Array) -> Array:
        if x.ndim == 1:  # levels of boxes
            self.octaves |= set(np.clip(np.floor(x), 2, 5).astype(int).tolist())
            self.note("octave", (x - np.round(x))[(x > 2) & (x < 6)])
        return super().floor(x)

    def least(self, x: Array) -> Array:
        least = super().least(x)
        for side in self._sides:
            self.note("side", (least - side)[least > 0])
        return least

    def top(self, scores: Array, count: int) -> tuple[Array, Array]:
        ordered = -np.sort(-scores, axis=1)
        with np.errstate(invalid="ignore"):  # among what is dropped
            self.note("rank", np.diff(ordered[:, count - 1 : count + 1]))
        return super().top(scores, count)

    def suppress(self, boxes: Array, scores: Array, keep: int, iou: float) -> Array:
        kept = super().suppress(boxes, scores, keep, iou)
        for own_boxes, own, staying in zip(boxes, scores, kept, strict=True):
            for best in np.flatnonzero(np.isfinite(staying)):
                lower = np.flatnonzero(np.isfinite(own) & (own <= own[best]))
                lower = lower[lower != best]
                ious = overlaps(own_boxes[best], own_boxes[lower])
                self.note("iou", ious - iou)
                self.note("order", (own[best] - own[lower])[ious > iou])
        return kept


def watched(kind: str) -> Margins:
    """The margins of a network in what the suite asks it of images."""
    network, _ = small = small_network(kind)
    ops, rule = Margins(small), network.config.preparation
    for image, size in zip(IMAGES * 2, [*map_sizes(kind), *batch_sizes(kind)], strict=True):
        pixels = rule.batch([image], [size], rule.padded_size(size))
        threshold = np.float32(EVERYTHING.score_threshold)
        sizes = np.array([size], np.float32)
        stages = network.detect(ops, pixels, sizes, threshold, EVERYTHING.limit)
        ops.note("score", stages.probabilities[:, 1:] - threshold)
    return ops


def map_sizes(kind: str) -> list[Size]:
    return [size_of(kind, image) for image in IMAGES]


@pytest.mark.parametrize("kind", KINDS)
def test_no_decision_is_a_near_tie(kind: str) -> None:
    margins = watched(kind).margins
    near = {decision: m for decision, m in margins.items() if m < NEEDED[decision]}
    assert not near, f"choose another seed for {kind!r}"


@pytest.mark.parametrize("kind", KINDS)
def test_several_classes_are_found_with_moderate_scores(kind: str) -> None:
    for index in range(len(IMAGES)):
        found = expected(kind, index)
        best_class_only = small_network(kind).network.rules.best_class_only
        assert len(found.scores) >= EVERYTHING.limit * (0.6 if best_class_only else 1)
        assert len(set(found.labels.tolist())) >= 3
        assert found.scores.max() < 0.999


def test_boxes_of_the_large_network_are_on_every_level() -> None:
    assert watched("large").octaves == {2, 3, 4, 5}


@pytest.mark.parametrize("kind", KINDS)
def test_variables_are_those_of_the_architecture(kind: str) -> None:
    network, variables = small_network(kind)
    shapes = {name: values.shape for name, values in variables.items()}
    assert shapes == network.architecture.variables()
    sizes, ratios = network.body.cells[0].sizes, network.config.anchor_ratios
    assert network.architecture.anchors == len(sizes) * len(ratios)
    assert read_off(shapes).variables() == shapes


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (networks.TENSORPACK, tensorpack_rules(TensorPackConfig())),
        (
            networks.JOINT,
            replace(
                tensorpack_rules(TensorPackConfig(proposal_mode="Joint", min_size=4)),
                delta_clip=networks.JOINT.delta_clip,
            ),
        ),
        (networks.AWS_SAMPLES, aws_samples_rules(AwsSamplesConfig(min_size=4))),
        (networks.TORCHVISION, torchvision_rules(TorchvisionConfig())),
        (networks.DETECTRON2, detectron2_rules(Detectron2Config())),
        (networks.MMDETECTION, mmdetection_rules(MMDetectionConfig())),
        (networks.MATTERPORT, matterport_rules(MatterportConfig())),
    ],
    ids=[
        "tensorpack",
        "joint",
        "aws_samples",
        "torchvision",
        "detectron2",
        "mmdetection",
        "matterport",
    ],
)
def test_rules_are_those_of_the_dialects(ours: Rules, theirs: Rules) -> None:
    """But for the numbers of proposals, and decimals of the clip."""
    assert ours.delta_clip == pytest.approx(theirs.delta_clip, abs=0.01)
    assert ours == replace(
        theirs,
        candidates=ours.candidates,
        kept=ours.kept,
        proposals=ours.proposals,
        delta_clip=ours.delta_clip,
    )
