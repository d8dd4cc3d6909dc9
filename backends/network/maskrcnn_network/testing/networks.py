"""Networks of a few channels and of every kind, with weights that find something."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.architecture import Architecture, Convs
from maskrcnn_network.centred import CentredPreparation
from maskrcnn_network.config import NetworkConfig
from maskrcnn_network.graph.folding import fold
from maskrcnn_network.graph.frames import ClampedFrame, NormalisedFrame
from maskrcnn_network.graph.network import Network, Variables
from maskrcnn_network.graph.operations import Pads
from maskrcnn_network.graph.rules import Rules, Sampling
from maskrcnn_network.mobilenet import MobileNet, Widths
from maskrcnn_network.testing.numpy_operations import Array, NumPyOperations
from maskrcnn_plugin_kit.testing.images import sample_image
from maskrcnn_server.backend import Image

CLASSES = 4
SHORT_EDGE = 96
PROPOSALS = 24
"""Number of proposals, so few that the rounding of other engines never decides an overlap."""
SPREAD = {"rpn/class": 1.0, "rpn/box": 0.3, "class": 1.5, "box": 1.5}
"""Standard deviation of the last layers' outputs, by the end of their names. Other layers: 1."""

FPN = Architecture(
    blocks=(1, 2, 1, 1),
    stem=8,
    widths=((4, 12), (4, 16), (8, 20), (8, 24)),
    group_norm=False,
    pyramid=16,
    pyramid_norm="none",
    rpn=Convs(1, 16, "none"),
    anchors=3,
    cascade=False,
    box_convs=Convs(0, 0, "none"),
    fc=(("fc6", 24), ("fc7", 24)),
    classes=CLASSES,
    has_masks=True,
    mask_convs=Convs(2, 12, "none"),
    mask=8,
)
C4 = replace(FPN, pyramid=None, anchors=15, fc=(), mask_convs=Convs(0, 0, "none"))
GROUP_NORM = replace(
    FPN,
    stem=32,
    widths=((32, 64), (32, 96), (32, 64), (32, 96)),
    group_norm=True,
    pyramid=64,
    pyramid_norm="group",
    box_convs=Convs(2, 64, "group"),
    fc=(("fc", 24),),
    mask_convs=Convs(2, 64, "group"),
)
RESNEXT = replace(FPN, groups=2, widths=((4, 12), (8, 16), (8, 20), (8, 24)))
UNBIASED_RESNEXT = replace(
    GROUP_NORM,
    groups=32,
    pyramid_biased=False,
    cascade=True,
    box_convs=Convs(0, 0, "none"),
    fc=(("fc6", 24), ("fc7", 24)),
    shared_boxes=True,
    has_masks=False,
)
C5 = replace(
    C4,
    fc=(("fc6", 24), ("fc7", 24)),
    mask_convs=Convs(2, 12, "none"),
    shared_boxes=True,
    shared_masks=True,
)
GROUP_NORM_FIRST = replace(
    GROUP_NORM,
    pyramid_norm="group first",
    box_convs=Convs(2, 64, "group first"),
    mask_convs=Convs(2, 64, "group first"),
)
MOBILENET = replace(
    FPN,
    blocks=(0, 0, 0, 0),
    mobilenet=MobileNet(
        name="mobilenet_v3_small",
        stem=8,
        widths=(
            *(Widths(8, 4, 8), Widths(12, 0, 12), Widths(16, 0, 12), Widths(16, 4, 16)),
            *(Widths(24, 4, 16), Widths(16, 4, 16), Widths(16, 4, 12), Widths(16, 4, 12)),
            *(Widths(24, 4, 20), Widths(24, 4, 20), Widths(24, 4, 20)),
        ),
        last=24,
        returned=(2, 4, 9, 12),
    ),
)
BIASED = replace(
    FPN,
    mask_convs=Convs(2, 12, "batch"),
    fc_norm="batch",
    biased=True,
)
CASCADED_MASKS = replace(FPN, cascade=True, shared_boxes=True, cascaded_masks=True)

TENSORPACK = Rules(
    candidates=PROPOSALS,
    kept=PROPOSALS,
    proposals=PROPOSALS,
    delta_clip=4.43,
    sampling=Sampling(samples=2),
    level_epsilon=1e-6,
)
JOINT = replace(
    TENSORPACK,
    together=True,
    candidates=3 * PROPOSALS,
    delta_clip=0.3,  # low enough to be reached
    min_sides=(4.0,),
)
AWS_SAMPLES = replace(
    TENSORPACK,
    candidates=2 * PROPOSALS,
    kept=PROPOSALS // 2,
    sigmoid="before",
    delta_clip=4.14,
    min_sides=(1.0, 0.5, 0.25, 0.125, 0.0625),
    sampling=Sampling(samples=1, shift=0.5),
    level_epsilon=0.0,
)
TORCHVISION = replace(
    TENSORPACK,
    sigmoid="after",
    delta_clip=4.14,
    min_sides=(1e-3,),
    sampling=Sampling(samples=2, half_pixel=False),
    level_epsilon=0.0,
    octave_epsilon=1e-6,
    fitted_anchors=True,
    anchors_by_ratio=True,
)
DETECTRON2 = replace(
    TENSORPACK,
    delta_clip=4.14,
    min_sides=(1e-30,),
    sampling=Sampling(samples=0),
    level_epsilon=1e-8,
)
DETECTRON2_ONE_MAP = replace(DETECTRON2, candidates=3 * PROPOSALS, kept=3 * PROPOSALS)
MMDETECTION = replace(
    TENSORPACK,
    sigmoid="before",
    delta_clip=4.14,
    min_sides=(1e-30,),
    frame=ClampedFrame(),
    sampling=Sampling(samples=0),
    level_epsilon=2.5e-7,
    anchors_by_ratio=True,
    averaged="logits",
)
MATTERPORT = Rules(
    candidates=3 * PROPOSALS,
    kept=PROPOSALS,
    proposals=PROPOSALS,
    together=True,
    filled=True,
    sigmoid="before",
    delta_clip=80.0,
    regression_weights=(10.0, 10.0, 5.0, 5.0),
    frame=NormalisedFrame(),
    sampling=Sampling(samples=1),
    octave_epsilon=0.5,
    best_class_only=True,
)


class TorchvisionConfig(NetworkConfig):
    """Settings of torchvision's networks besides their rules."""

    resampling: ClassVar[Literal["float"]] = "float"
    min_detection_side: ClassVar[float] = 1e-2
    channels: Literal["RGB", "BGR"] = "RGB"


class Detectron2Config(NetworkConfig):
    """Settings of Detectron2's networks besides their rules."""

    resampling: ClassVar[Literal["pillow"]] = "pillow"
    symmetric: ClassVar[bool] = True
    min_detection_side: ClassVar[float] = 1e-30
    stride_1x1: bool = True


class MMDetectionConfig(NetworkConfig):
    """Settings of MMDetection's networks besides their rules."""

    symmetric: ClassVar[bool] = True
    channels: Literal["RGB", "BGR"] = "RGB"


class DeepdoctectionConfig(NetworkConfig):
    """Settings of deepdoctection's networks besides their rules."""

    agnostic_nms_threshold: float | None = 0.4

    @property
    def block_pads(self) -> tuple[int, int]:
        return 0, 1


class MatterportConfig(NetworkConfig):
    """Settings of Matterport's networks besides their rules."""

    channels: Literal["RGB", "BGR"] = "RGB"
    pixel_mean: tuple[float, float, float] = (123.7, 116.8, 103.9)
    pixel_std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    norm_epsilon: float = 1e-3
    stride_1x1: bool = True
    detection_nms_threshold: float = 0.3

    @property
    def pool_pads(self) -> tuple[int, int]:
        return 0, 1

    @property
    def delta_clip(self) -> float:
        return MATTERPORT.delta_clip

    @property
    def stride(self) -> int:
        return 64

    @property
    def preparation(self) -> CentredPreparation:
        return CentredPreparation(short_edge=SHORT_EDGE, mean=self.pixel_mean, multiple_of=64)


@dataclass(frozen=True)
class Kind:
    """A kind of network, and a seed of weights that cause no near ties."""

    seed: int
    architecture: Architecture = FPN
    rules: Rules = TENSORPACK
    config: type[NetworkConfig] = NetworkConfig
    settings: Mapping[str, Any] = field(default_factory=dict)


LARGE = {"short_edge": 480, "max_size": 640, "anchor_sizes": (160, 300, 520, 640, 96)}
KINDS: Mapping[str, Kind] = {
    "fpn": Kind(1),
    "large": Kind(29, settings=LARGE),
    "c4": Kind(2, C4, replace(JOINT, min_sides=())),
    "group_norm": Kind(0, GROUP_NORM),
    "cascade": Kind(0, replace(FPN, cascade=True, shared_boxes=True)),
    "joint": Kind(0, rules=JOINT),
    "boxes": Kind(1, replace(FPN, has_masks=False)),
    "padded_as_tensorflow": Kind(1, settings={"tf_pad_mode": True, "stride_1x1": True}),
    "aws_samples": Kind(1, rules=AWS_SAMPLES),
    "torchvision": Kind(0, rules=TORCHVISION, config=TorchvisionConfig),
    "detectron2": Kind(1, rules=DETECTRON2, config=Detectron2Config),
    "resnext": Kind(0, RESNEXT),
    "deepdoctection": Kind(
        1, UNBIASED_RESNEXT, config=DeepdoctectionConfig, settings={"detections": 40}
    ),
    "c5": Kind(1, C5, DETECTRON2_ONE_MAP, Detectron2Config, {"dilation": 2, "stride_1x1": False}),
    "detectron2_c4": Kind(0, C4, DETECTRON2_ONE_MAP, Detectron2Config, {"stride_1x1": False}),
    "group_norm_first": Kind(0, GROUP_NORM_FIRST, DETECTRON2, Detectron2Config),
    "mmdetection": Kind(4, CASCADED_MASKS, MMDETECTION, MMDetectionConfig),
    "mobilenet": Kind(
        14,
        MOBILENET,
        replace(TORCHVISION, score_floor=0.6),
        TorchvisionConfig,
    ),
    "matterport": Kind(0, BIASED, MATTERPORT, MatterportConfig),
}
"""Kinds of network by name. The boxes of `large` are large enough for every level."""


class SmallNetwork(NamedTuple):
    """A network and its read-only weights."""

    network: Network
    variables: Variables


@cache
def small_network(kind: str) -> SmallNetwork:
    """The network of a kind, by its name in `KINDS`."""
    return make(KINDS[kind])


def make(kind: Kind) -> SmallNetwork:
    """A network of this kind."""
    defaults = {
        "short_edge": SHORT_EDGE,
        "max_size": 5 * SHORT_EDGE,
        "anchor_sizes": (16, 32, 64, 96, 128),
        "detections": 20,
    }
    config = kind.config(**{**defaults, **kind.settings}).settled(kind.architecture)
    network = Network(kind.architecture, config, kind.rules)
    settling = _Settling(network, np.random.default_rng(kind.seed))
    rule, image = config.preparation, noisy_image(SHORT_EDGE, SHORT_EDGE * 4 // 3)
    size = rule.resized_size((image.shape[0], image.shape[1]))
    pixels, sizes = rule.batch([image], [size], rule.padded_size(size)), np.array([size])
    stages = network.detect(settling, pixels, sizes.astype(np.float32), np.float32(0), 100)
    if kind.architecture.has_masks:
        boxes, _, labels, images = stages.found
        network.masks(settling, stages.features, boxes, labels, images)
    for values in settling.variables.values():
        values.setflags(write=False)
    return SmallNetwork(network, settling.variables)


def noisy_image(height: int, width: int, seed: int = 0) -> Image:
    """Blocks of colour under noise, so that no two places of an image look the same."""
    noise = np.random.default_rng(seed).integers(0, 128, (height, width, 3), np.uint8)
    return np.asarray(sample_image(height, width, seed) // 2 + noise, np.uint8)


class _Settling(NumPyOperations):
    """Gives each layer random weights at its first use, scaled so that every channel of its output
    has mean 0 and the wanted standard deviation."""

    def __init__(self, network: Network, random: np.random.Generator) -> None:
        shapes = network.architecture.variables()
        self.variables = {name: _random(name, shape, random) for name, shape in shapes.items()}
        super().__init__(network.folded(self.variables, channels_last=True))
        self._config = network.config
        self._random = random
        self._settled: set[str] = set()

    def convolve(
        self, name: str, x: Array, stride: int, pads: Pads, groups: int = 1, dilation: int = 1
    ) -> Array:
        def compute() -> Array:
            return super(_Settling, self).convolve(name, x, stride, pads, groups, dilation)

        self._settle(name, compute)
        return compute()

    def dense(self, name: str, x: Array, *, relu: bool = False) -> Array:
        self._settle(name, lambda: super(_Settling, self).dense(name, x))
        return super().dense(name, x, relu=relu)

    def _settle(self, name: str, compute: Callable[[], Array]) -> None:
        if name in self._settled:
            return
        self._settled.add(name)
        y = compute().reshape(-1, self.layers[name].kernel.shape[-1])
        if len(y) == 1:  # from the mean of a map
            return
        mean, std = y.mean(axis=0), np.maximum(y.std(axis=0), 1e-3)
        own = {n: v for n, v in self.variables.items() if n.startswith(f"{name}/")}
        values: dict[str, Array] = {}
        if f"{name}/bn/gamma" in own:
            values = {
                f"{name}/bn/mean/EMA": mean,
                f"{name}/bn/variance/EMA": std * std,
                f"{name}/bn/gamma": self._random.uniform(0.5, 1.5, len(mean)),
                f"{name}/bn/beta": self._random.normal(0, 0.3, len(mean)),
            }
        elif f"{name}/b" in own:
            wanted = next((s for end, s in SPREAD.items() if f"/{name}".endswith(f"/{end}")), 1.0)
            values = {
                f"{name}/W": own[f"{name}/W"] * (wanted / std),
                f"{name}/b": (own[f"{name}/b"] - mean) * (wanted / std),
            }
        own |= {n: v.astype(np.float32) for n, v in values.items()}
        self.variables |= own
        self.layers = {**self.layers, **fold(own, self._config).layers}


def _random(name: str, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float32]:
    """Weights and biases around 0, scales around 1; batch norm that changes nothing yet."""
    if name.endswith(("bn/gamma", "bn/variance/EMA")):
        values = np.ones(shape)
    elif name.endswith(("bn/beta", "bn/mean/EMA")):
        values = np.zeros(shape)
    elif name.endswith("/gamma"):
        values = random.uniform(0.5, 1.5, shape)
    elif name.endswith("/W"):
        inputs = shape[-1] if name.endswith("/deconv/W") else np.prod(shape[:-1])
        values = random.normal(0, 1.5 / np.sqrt(inputs), shape)
    else:
        values = random.normal(0, 0.3, shape)
    return values.astype(np.float32)
