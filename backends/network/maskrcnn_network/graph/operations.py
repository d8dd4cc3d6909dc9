"""The operations that a network is made of: all that an engine must implement."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.graph.folding import Folded, Scales, Weights
from maskrcnn_network.graph.sampling import Sampling

Tensor: TypeAlias = Any
"""The engine's own type of array, with `+ - * / //` and `>=` for such arrays and for numbers,
`x[..., 0:2]` and `x[:, None]`."""
Map: TypeAlias = Any
"""Feature maps of a batch, in the engine's own layout and precision, with `+` for maps and numbers,
`*` for maps, `/` for numbers."""
Pads: TypeAlias = tuple[int, int]
"""Numbers of zeros on the top and left, and on the bottom and right."""

DROPPED = float("-inf")
"""Score of a dropped candidate."""
LOWEST = float(np.finfo(np.float32).min)
"""Minimum score of a candidate."""


class Regions(NamedTuple):
    """Regions of the feature maps, one for each box."""

    maps: Map
    """R regions, in an order that suits the engine."""
    order: Tensor | None = None
    """(R,) int64: index of the box that each region shows; None: the order of the boxes."""


class Slots(NamedTuple):
    """Where the entries of a compacted list come from."""

    images: Tensor
    """(P,) int64: index of the image in the batch."""
    width: int | Tensor
    """Number of places of each image."""
    places: Any
    """The engine's own record of where each entry was, for `spread`."""


def same(size: int, dilation: int = 1) -> Pads:
    """The zeros around a map that keep its size when a kernel of this size convolves it."""
    around = (size - 1) * dilation
    return around // 2, (around + 1) // 2


class Operations(ABC):
    """Operations of an engine. Scores, boxes and the like are float32 on every engine.

    An engine overrides a default, which is made of other operations, with something faster.
    """

    channels_last = False
    """Whether `flatten` orders y, x, channel. If not, channel, y, x."""

    def __init__(self, folded: Folded) -> None:
        self.layers: Mapping[str, Weights] = folded.layers
        self.norms: Mapping[str, Scales] = folded.norms

    def __contains__(self, layer: str) -> bool:
        return layer in self.layers

    def numbered(self, stem: str) -> list[str]:
        """The layers `<stem>0`, `<stem>1` and so on, as many as there are."""
        names = (f"{stem}{i}" for i in itertools.count())
        return list(itertools.takewhile(self.__contains__, names))

    # Layers.

    def conv(
        self,
        name: str,
        x: Map,
        stride: int = 1,
        pads: Pads | None = None,
        *,
        groups: int = 1,
        dilation: int = 1,
        add: Map | None = None,
        relu: bool = False,
    ) -> Map:
        """Convolve, apply the norm `<name>/gn` if there is one, add a map, apply ReLU.

        `pads` None: padding that keeps the size at stride 1.
        """
        pads = pads or same(self.layers[name].kernel.shape[0], dilation)
        y = self.convolve(name, x, stride, pads, groups, dilation)
        y = self.norm(f"{name}/gn", y)
        y = y if add is None else y + add
        return self.relu(y) if relu else y

    def conv_each(self, names: Sequence[str], x: Map) -> list[Map]:
        """Convolutions of the same map, none of which changes its size."""
        return [self.conv(name, x) for name in names]

    def norm(self, name: str, x: Map) -> Map:
        """Group normalisation by the scales of this name, or `x` where there are none."""
        return self.group_norm(x, self.norms[name]) if name in self.norms else x

    @abstractmethod
    def convolve(
        self, name: str, x: Map, stride: int, pads: Pads, groups: int = 1, dilation: int = 1
    ) -> Map:
        """The layer's convolution, and its bias.

        Channels in and out are cut into `groups`, and each group out sees only its group in: the
        kernel is (height, width, in / groups, out). `dilation` is the distance of the pixels that a
        kernel sees.
        """

    @abstractmethod
    def group_norm(self, x: Map, scales: Scales) -> Map:
        """Normalise each of `folding.GROUPS` groups of channels (Wu and He 2018), in float32.

        Biased variance plus `folding.EPSILON`. Take the means axis by axis: a single float32 sum of
        a hundred thousand numbers loses three digits.
        """

    @abstractmethod
    def dense(self, name: str, x: Tensor, *, relu: bool = False) -> Tensor:
        """The layer's product with `x` (n, in), and its bias: (n, out)."""

    def dense_each(self, names: Sequence[str], x: Tensor) -> list[Tensor]:
        """Dense layers of the same rows."""
        return [self.dense(name, x) for name in names]

    @abstractmethod
    def mask_logits(self, head: str, regions: Regions, labels: Tensor, side: int) -> Tensor:
        """The last two layers of a mask head on regions of m = `side`: float32 (R, 2m, 2m).

        `HEAD/deconv` is a transposed convolution, 2 x 2 with stride 2, kernel (2, 2, out, in),
        with a ReLU after it. `HEAD/conv` is 1 x 1; each region needs only its channel
        label - 1. `labels` (R,) from 1; they and the result are in the order of the boxes.
        """

    # Feature maps.

    @abstractmethod
    def relu(self, x: Map) -> Map:
        """The larger of `x` and 0."""

    def relu6(self, x: Map) -> Map:
        """`x` cut to the numbers from 0 to 6."""
        return self.minimum(self.relu(x), 6.0)

    def hard_sigmoid(self, x: Map) -> Map:
        """ReLU6(x + 3) / 6 (Howard et al. 2019), also of a tensor."""
        return self.relu6(x + 3.0) / 6.0

    def hard_swish(self, x: Map) -> Map:
        """x times its hard sigmoid."""
        return x * self.hard_sigmoid(x)

    def weigh(self, x: Map, weights: Tensor) -> Map:
        """A map times the weight of each of its channels: `weights` (batch, channels).

        This default is for maps (batch, channels, height, width).
        """
        return x * self.reshape(weights, (0, 0, 1, 1))

    @abstractmethod
    def max_pool(self, x: Map, pads: Pads) -> Map:
        """Maximum of 3 x 3 with stride 2, of a map without negative numbers."""

    @abstractmethod
    def upsample(self, x: Map) -> Map:
        """Repeat each pixel 2 x 2 times."""

    def add_upsampled(self, x: Map, coarse: Map) -> Map:
        """The sum of a map and one of half its height and width."""
        return x + self.upsample(coarse)

    @abstractmethod
    def subsample(self, x: Map) -> Map:
        """Every second pixel of every second row, from the first."""

    @abstractmethod
    def crop(self, x: Map) -> Map:
        """All but the last row and column."""

    @abstractmethod
    def flatten(self, x: Map) -> Tensor:
        """(R, channels * height * width), in the order of the rows of dense layers."""

    @abstractmethod
    def spatial_mean(self, x: Map) -> Tensor:
        """The mean of each channel: (R, channels)."""

    @abstractmethod
    def cells(self, x: Map, numbers: int) -> Tensor:
        """The channels of each pixel, row by row, as float32 (batch, pixels * anchors, numbers)."""

    @abstractmethod
    def extent(self, x: Map) -> Tensor:
        """Width and height of a map, float32 (2,)."""

    @abstractmethod
    def places(self, x: Map, stride: int | None, images: Map) -> tuple[Tensor, Tensor]:
        """Positions of the columns (width,) and rows (height,) of a map in its images, float32.

        They start at 0, and are `stride` pixels apart. None: the sides of the images divided by
        those of the map, rounded down.
        """

    @abstractmethod
    def roi_align(
        self,
        features: Sequence[Map],
        strides: Sequence[int],
        boxes: Tensor,
        images: Tensor,
        levels: Tensor | None,
        resolution: int,
        sampling: Sampling,
    ) -> Regions:
        """RoIAlign (He et al. 2017): the mean of bilinear samples in each of resolution^2 bins.

        `boxes` (R, 4) in network coordinates, in images (R,), on the map of index `levels` (R,);
        None: there is one. Samples up to one pixel beyond a border pixel's centre have that pixel's
        value; further out, 0. See `Sampling` for how the frameworks differ.
        """

    @abstractmethod
    def crop_and_resize(
        self,
        features: Sequence[Map],
        boxes: Tensor,
        images: Tensor,
        levels: Tensor | None,
        resolution: int,
    ) -> Regions:
        """Bilinear samples of regions, the outermost of which lie on the regions' edges.

        `boxes` (R, 4) are shares of the map of index `levels` (R,): 0 is its first pixel, 1 its
        last. Beyond the last pixel, be it by rounding, samples are 0. Products and their sums are
        rounded one by one, in float32.
        Source: TensorFlow, core/kernels/image/crop_and_resize_op.cc.
        """

    def in_order(self, regions: Regions, x: Tensor) -> Tensor:  # noqa: ARG002 (others need it)
        """Put `x` (R, ...), computed from regions, into the order of the boxes."""
        return x

    # Tensors.

    @abstractmethod
    def constant(self, values: NDArray[Any]) -> Tensor: ...

    @abstractmethod
    def minimum(self, a: Tensor, b: Tensor | float) -> Tensor: ...

    @abstractmethod
    def maximum(self, a: Tensor, b: Tensor | float) -> Tensor: ...

    @abstractmethod
    def exp(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def log(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def sqrt(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def floor(self, x: Tensor) -> Tensor: ...

    def sigmoid(self, x: Tensor) -> Tensor:
        """1 / (1 + exp(-x)), which is 1 from 17 on. Engines' own approximations differ in ties."""
        return 1.0 / (self.exp(0.0 - x) + 1.0)

    @abstractmethod
    def softmax(self, x: Tensor) -> Tensor:
        """Softmax along the last axis."""

    @abstractmethod
    def where(self, condition: Tensor, x: Tensor, y: Tensor | float) -> Tensor: ...

    @abstractmethod
    def largest(self, x: Tensor) -> Tensor:
        """The maximum of each image, with its axes kept: (batch, 1, ...)."""

    @abstractmethod
    def least(self, x: Tensor) -> Tensor:
        """The minimum along the last axis, which is removed."""

    def broadcast(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Repeat both along the axes in which they have one entry and the other has several."""
        return x + y * 0.0, y + x * 0.0

    @abstractmethod
    def concat(self, parts: Sequence[Tensor], axis: int) -> Tensor: ...

    @abstractmethod
    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """Reshape; -1 stands for the remaining length, 0 for the present length of the axis."""

    @abstractmethod
    def transpose(self, x: Tensor, axes: Sequence[int]) -> Tensor: ...

    @abstractmethod
    def to_int(self, x: Tensor) -> Tensor:
        """Convert to int64, truncated."""

    @abstractmethod
    def to_float(self, x: Tensor) -> Tensor:
        """Convert to float32."""

    @abstractmethod
    def gather(self, x: Tensor, index: Tensor) -> Tensor:
        """Entries of the first axis, by index."""

    @abstractmethod
    def take(self, x: Tensor, index: Tensor) -> Tensor:
        """Entries of the second axis, by index (batch, k) for each image."""

    # Lists of candidates.

    @abstractmethod
    def top(self, scores: Tensor, count: int | Tensor) -> tuple[Tensor, Tensor]:
        """The best `count` of scores (batch, n), best first, and their places int64 (batch, count).

        The earlier of two equal scores comes first. Missing ones are `DROPPED`, at place 0.
        """

    def top_each(self, lists: Sequence[Tensor], count: int | Tensor) -> list[tuple[Tensor, Tensor]]:
        """`top` of each list of scores (batch, n), for engines that select from all at once."""
        return [self.top(scores, count) for scores in lists]

    @abstractmethod
    def suppress(self, boxes: Tensor, scores: Tensor, keep: int | Tensor, iou: float) -> Tensor:
        """Scores (lists, n) after non-maximum suppression of boxes (lists, n, 4) in each list.

        From the best down, a box stays unless its intersection over union with one that stays is
        above `iou`, until `keep` stay. A box without area overlaps none. All other scores are
        `DROPPED`.
        """

    def suppress_ranked(
        self, boxes: Tensor, scores: Tensor, keep: int | Tensor, iou: float
    ) -> Tensor:
        """`suppress` of lists whose scores are sorted, best first, except dropped ones."""
        return self.suppress(boxes, scores, keep, iou)

    def survivors(
        self, boxes: Tensor, scores: Tensor, keep: int | Tensor, iou: float
    ) -> tuple[Tensor, Tensor]:
        """What `suppress` keeps in each list, as `top` says it: both (lists, keep)."""
        return self.top(self.suppress(boxes, scores, keep, iou), keep)

    @abstractmethod
    def compact(self, scores: Tensor, *values: Tensor) -> tuple[Slots, list[Tensor]]:
        """Scores (batch, width) and values (batch, width, ...) as lists (P,) and (P, ...).

        Image after image. Engines leave out what is `DROPPED`, unless their shapes are fixed.
        """

    @abstractmethod
    def spread(self, values: Tensor, slots: Slots, missing: float) -> Tensor:
        """Put values (P, ...) of a compacted list back in place: (batch, width, ...)."""
