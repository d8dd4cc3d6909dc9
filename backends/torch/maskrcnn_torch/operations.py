"""The network's operations in PyTorch, with fixed shapes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from maskrcnn_network.graph.folding import EPSILON, GROUPS, Folded, Scales, Weights
from maskrcnn_network.graph.operations import Pads, Regions, same
from maskrcnn_network.graph.sampling import Sampling
from maskrcnn_torch.candidates import CandidateOperations
from maskrcnn_torch.devices import is_lost, is_out_of_memory
from maskrcnn_torch.kernels import kernels_on
from maskrcnn_torch.roi_align import Pooling, gathered_roi_align

CHANNEL_MULTIPLE = 8
"""Divisor of the number of channels for which tensor cores are fast."""
DECONV = "maskrcnn/deconv"


class TorchOperations(CandidateOperations):
    """Layers are computed in `dtype`, everything else in float32. Feature maps are NCHW in
    channels_last memory.

    With `kernels`, nothing but the first call of its kind waits for the device. `exact`: products
    of float32 are not rounded to TF32.
    """

    channels_last = True

    def __init__(
        self, folded: Folded, device: torch.device, dtype: torch.dtype, *, exact: bool = True
    ) -> None:
        super().__init__(folded)
        self.exact = exact and dtype == torch.float32
        self.device = device
        self.dtype = dtype
        self._weights = {name: self._on_device(layer) for name, layer in folded.layers.items()}
        if DECONV in folded.layers:
            kernel, bias = folded.layers[DECONV]
            quarters = kernel.reshape(-1, kernel.shape[-1]).T
            self._weights[DECONV] = self._on_device(Weights(quarters, np.tile(bias, 4)))
        # From here on, only the shapes of layers are needed.
        self.layers = {
            name: Weights(np.broadcast_to(np.float32(0), layer.kernel.shape), layer.bias)
            for name, layer in folded.layers.items()
        }
        self._constants: dict[tuple[bytes, tuple[int, ...], str], Tensor] = {}
        self.kernels, self.kernels_of = kernels_on(device, dtype)
        self._unfused: set[str] = set()
        self.fuses = device.type == "cuda" and self._can_fuse()

    def close(self) -> None:
        """Free the weights."""
        self._weights.clear()
        self._constants.clear()

    def _on_device(self, layer: Weights) -> tuple[Tensor, Tensor]:
        kernel, bias = (torch.from_numpy(np.ascontiguousarray(values)) for values in layer)
        kernel, bias = (values.to(self.device, self.dtype) for values in (kernel, bias))
        if kernel.dim() == 2:
            return kernel.t().contiguous(), bias
        return kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last), bias

    def _can_fuse(self) -> bool:
        """Whether cuDNN's fused convolutions work here and agree with plain ones."""
        options: dict[str, Any] = {"device": self.device, "dtype": self.dtype}
        x = torch.linspace(-1, 1, 2 * 64 * 8 * 8, **options).view(2, 64, 8, 8)
        kernel = torch.linspace(-0.1, 0.1, 64 * 64 * 3 * 3, **options).view(64, 64, 3, 3)
        x, kernel = (v.contiguous(memory_format=torch.channels_last) for v in (x, kernel))
        bias = torch.linspace(-1, 1, 64, **options)
        plain = functional.conv2d(x, kernel, bias, 1, 1)
        steps = [1] * 2, [1] * 2, [1] * 2, 1
        try:
            pairs = [
                (_fused(x, kernel, bias, steps, None), plain.relu()),
                (_fused(x, kernel, bias, steps, x), (plain + x).relu()),
            ]
        except RuntimeError:
            return False
        return all(torch.allclose(a, b, rtol=0.02, atol=0.02) for a, b in pairs)

    # Layers.

    def conv(
        self,
        name: str,
        x: Tensor,
        stride: int = 1,
        pads: Pads | None = None,
        *,
        groups: int = 1,
        dilation: int = 1,
        add: Tensor | None = None,
        relu: bool = False,
    ) -> Tensor:
        kernel, bias = self._weights[name]
        size, norm = kernel.shape[-1], f"{name}/gn"
        pads = pads or same(size, dilation)
        product = self.exact and self._is_product(name, stride, groups)
        fuses = self.fuses and norm not in self.norms and name not in self._unfused
        if relu and fuses and not product:
            whole, padding = _padded(x, (size - 1) * dilation + 1, stride, pads)
            steps = [stride] * 2, [padding] * 2, [dilation] * 2, groups
            try:
                return _fused(whole, kernel, bias, steps, add)
            except RuntimeError as error:
                if is_lost(error) or is_out_of_memory(error):
                    raise
                self._unfused.add(name)  # cuDNN does not support its shape
        y: Tensor = self.norm(norm, self.convolve(name, x, stride, pads, groups, dilation))
        y = y if add is None else y.add_(add)
        return y.relu_() if relu else y

    def convolve(
        self, name: str, x: Tensor, stride: int, pads: Pads, groups: int = 1, dilation: int = 1
    ) -> Tensor:
        kernel, bias = self._weights[name]
        if self._is_product(name, stride, groups):
            return _at_each_pixel(x, kernel, bias)
        x, padding = _padded(x, (kernel.shape[-1] - 1) * dilation + 1, stride, pads)
        steps = stride, padding, dilation, groups
        if self.kernels:
            # PyTorch adds a bias in a kernel of its own, too, and more slowly.
            return self.kernels.add_bias(functional.conv2d(x, kernel, None, *steps), bias)
        return functional.conv2d(x, kernel, bias, *steps)

    def _is_product(self, name: str, stride: int, groups: int) -> bool:
        """Whether a convolution is computed as a product of matrices.

        On a GPU, that adds the bias by the way, and in exact float32 it is faster, with ReLU too.
        """
        return bool(self.kernels) and self._weights[name][0].shape[-1] == stride == groups == 1

    def conv_each(self, names: Sequence[str], x: Tensor) -> list[Tensor]:
        kernel, bias, counts = self._joined(names)
        y = _at_each_pixel(x, kernel, bias) if self.kernels else functional.conv2d(x, kernel, bias)
        return list(torch.split(y, counts, 1)[: len(names)])

    def group_norm(self, x: Tensor, scales: Scales) -> Tensor:
        count, channels, height, width = x.shape
        grouped = x.float().reshape(count, GROUPS, channels // GROUPS, height * width)
        centred = grouped - _mean(grouped)
        normal = centred / (_mean(centred * centred) + EPSILON).sqrt()
        gamma, beta = (self.constant(values.reshape(-1, 1, 1)) for values in scales)
        scaled = normal.view(x.shape) * gamma + beta
        return scaled.to(x.dtype, memory_format=torch.channels_last)

    def dense(self, name: str, x: Tensor, *, relu: bool = False) -> Tensor:
        y = functional.linear(x, *self._weights[name])
        return y.relu_() if relu else y

    def dense_each(self, names: Sequence[str], x: Tensor) -> list[Tensor]:
        kernel, bias, counts = self._joined(names)
        return list(torch.split(functional.linear(x, kernel, bias), counts, 1)[: len(names)])

    def _joined(self, names: Sequence[str]) -> tuple[Tensor, Tensor, list[int]]:
        """Layers joined into one and padded with channels of zeros; their numbers of channels."""
        name = " ".join(names)
        counts = [len(self._weights[name][1]) for name in names]
        counts.append(-sum(counts) % CHANNEL_MULTIPLE)
        if name not in self._weights:
            kernels, biases = zip(*(self._weights[name] for name in names), strict=True)
            kernel = functional.pad(
                torch.cat(kernels), (0, 0) * (kernels[0].dim() - 1) + (0, counts[-1])
            )
            if kernel.dim() == 4:
                kernel = kernel.contiguous(memory_format=torch.channels_last)
            self._weights[name] = kernel, functional.pad(torch.cat(biases), (0, counts[-1]))
        return *self._weights[name], counts

    def mask_logits(self, regions: Regions, labels: Tensor, side: int) -> Tensor:
        """Both layers are matrix products: each pixel becomes four places, row by row."""
        maps = regions.maps
        quarters, biases = self._weights[DECONV]
        pixels = maps.permute(0, 2, 3, 1).reshape(-1, quarters.shape[1])
        places = functional.linear(pixels, quarters, biases).relu_()
        kernel, bias = self._weights["maskrcnn/conv"]  # (classes, width, 1, 1)
        own = kernel.flatten(1)[labels - 1][:, :, None]
        logits = torch.bmm(places.view(len(maps), -1, own.shape[1]), own).float()
        logits += bias.float()[labels - 1][:, None, None]
        woven = logits.view(-1, side, side, 2, 2).permute(0, 1, 3, 2, 4)
        return woven.reshape(-1, 2 * side, 2 * side)

    # Feature maps.

    def relu(self, x: Tensor) -> Tensor:
        return x.relu()

    def max_pool(self, x: Tensor, pads: Pads) -> Tensor:
        if self.kernels:
            return self.kernels.max_pool(x, pads)
        x, padding = _padded(x, 3, 2, pads)
        return functional.max_pool2d(x, 3, 2, padding)

    def upsample(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, scale_factor=2.0, mode="nearest")

    def add_upsampled(self, x: Tensor, coarse: Tensor) -> Tensor:
        return self.kernels.add_upsampled(x, coarse) if self.kernels else x + self.upsample(coarse)

    def subsample(self, x: Tensor) -> Tensor:
        return x[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last)

    def crop(self, x: Tensor) -> Tensor:
        return x[:, :, :-1, :-1].contiguous(memory_format=torch.channels_last)

    def flatten(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).reshape(len(x), -1)

    def spatial_mean(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), dtype=torch.float32).to(x.dtype)

    def cells(self, x: Tensor, numbers: int) -> Tensor:
        return x.permute(0, 2, 3, 1).float().reshape(len(x), -1, numbers)

    def extent(self, x: Tensor) -> Tensor:
        return torch.stack(
            [
                torch.full((), x.shape[axis], dtype=torch.float32, device=self.device)
                for axis in (3, 2)
            ]
        )

    def places(self, x: Tensor, stride: int | None, images: Tensor) -> tuple[Tensor, Tensor]:
        steps = ((x.shape[i], stride or images.shape[i] // x.shape[i]) for i in (3, 2))
        columns, rows = (
            torch.arange(0, count * step, step, dtype=torch.float32, device=self.device)
            for count, step in steps
        )
        return columns, rows

    def roi_align(
        self,
        features: Sequence[Tensor],
        strides: Sequence[int],
        boxes: Tensor,
        images: Tensor,
        levels: Tensor | None,
        resolution: int,
        sampling: Sampling,
    ) -> Regions:
        levels = torch.zeros_like(images) if levels is None else levels
        scales = [1 / stride for stride in strides]
        pooling = Pooling(list(features), scales, boxes, images, levels, resolution, sampling)
        return Regions((self.kernels.roi_align if self.kernels else gathered_roi_align)(pooling))

    def weighted(self, regions: Regions, weights: Tensor) -> Regions:
        maps, (columns, rows) = regions.maps, weights.to(regions.maps.dtype).unbind(-1)
        return Regions(maps * rows[:, None, :, None] * columns[:, None, None])

    # Tensors.

    def constant(self, values: NDArray[Any]) -> Tensor:
        """Values on the device, where they are cached because sending them waits for it."""
        key = values.tobytes(), values.shape, values.dtype.str
        if key not in self._constants:
            self._constants[key] = torch.from_numpy(np.array(values)).to(self.device)
        return self._constants[key]

    def minimum(self, a: Tensor, b: Tensor | float) -> Tensor:
        return torch.minimum(a, b) if isinstance(b, Tensor) else a.clamp(max=b)

    def maximum(self, a: Tensor, b: Tensor | float) -> Tensor:
        return torch.maximum(a, b) if isinstance(b, Tensor) else a.clamp(min=b)

    def exp(self, x: Tensor) -> Tensor:
        return x.exp()

    def log(self, x: Tensor) -> Tensor:
        return x.log()

    def sqrt(self, x: Tensor) -> Tensor:
        return x.sqrt()

    def floor(self, x: Tensor) -> Tensor:
        return x.floor()

    def softmax(self, x: Tensor) -> Tensor:
        return x.softmax(-1)

    def where(self, condition: Tensor, x: Tensor, y: Tensor | float) -> Tensor:
        return torch.where(condition, x, y)

    def largest(self, x: Tensor) -> Tensor:
        return x.amax(tuple(range(1, x.dim())), keepdim=True)

    def least(self, x: Tensor) -> Tensor:
        return x.amin(-1)

    def broadcast(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        shape = [max(sides) for sides in zip(x.shape, y.shape, strict=True)]
        return x.expand(shape), y.expand(shape)

    def concat(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        return torch.cat(list(parts), axis)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        return x.reshape([length or x.shape[axis] for axis, length in enumerate(shape)])

    def transpose(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        return x.permute(*axes)

    def to_int(self, x: Tensor) -> Tensor:
        return x.long()

    def to_float(self, x: Tensor) -> Tensor:
        return x.float()

    def gather(self, x: Tensor, index: Tensor) -> Tensor:
        return x[index]


def _at_each_pixel(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """A convolution of 1 x 1 as a product of matrices, which adds the bias by the way."""
    return functional.linear(x.permute(0, 2, 3, 1), kernel.flatten(1), bias).permute(0, 3, 1, 2)


def _mean(grouped: Tensor) -> Tensor:
    """Mean over the last two axes, which are kept."""
    return grouped.mean(3, keepdim=True).mean(2, keepdim=True)


def _padded(x: Tensor, size: int, stride: int, pads: Pads) -> tuple[Tensor, int]:
    """A map, padded if necessary, and the zeros that it still needs on each side.

    Zeros that no window reaches make no difference.
    """
    before, after = pads
    ends = (
        (n + 2 * before - size) // stride - (n + sum(pads) - size) // stride for n in x.shape[2:]
    )
    return (functional.pad(x, (before, after) * 2), 0) if any(ends) else (x, before)


def _fused(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor,
    steps: tuple[list[int], list[int], list[int], int],
    add: Tensor | None,
) -> Tensor:
    """A convolution, an optional sum, and ReLU in one call of cuDNN.

    `steps`: stride, padding and dilation of height and width, and groups.
    """
    if add is None:
        return torch.cudnn_convolution_relu(x, kernel, bias, *steps)
    return torch.cudnn_convolution_add_relu(x, kernel, add, 1.0, bias, *steps)
