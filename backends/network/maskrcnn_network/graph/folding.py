"""Layers as computed, with batch norm and input normalisation folded into their weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.config import NetworkConfig

EPSILON = 1e-5
"""Epsilon of group normalisation in TensorPack and AWS Samples."""
GROUPS = 32


class Weights(NamedTuple):
    """A layer's kernel (convolution: height, width, in, out; dense: in, out) and bias (out,)."""

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]


class Scales(NamedTuple):
    """Scale and offset (channels,) of a group normalisation."""

    gamma: NDArray[np.float32]
    beta: NDArray[np.float32]


@dataclass(frozen=True)
class Folded:
    """The layers and group normalisations of a network by name."""

    layers: Mapping[str, Weights]
    norms: Mapping[str, Scales]


def fold(variables: Mapping[str, NDArray[np.float32]], config: NetworkConfig) -> Folded:
    """Layers of `variables` (`<layer>/W`, `/b`, `/bn/...`), batch norm folded into the kernels.

    gamma * (W x + b - mean) / sqrt(variance + epsilon) + beta is itself a convolution, with kernel
    W * scale and bias b * scale + beta - mean * scale. conv0 also reverses the channels for
    networks trained on BGR (images here are RGB), and divides by their standard deviation. Computed
    in float64.
    """
    layers, norms = {}, {}
    for variable, values in variables.items():
        name, _, leaf = variable.rpartition("/")
        if leaf == "W":
            kernel = values.astype(np.float64)
            if name == "conv0":
                if config.channels == "BGR":
                    kernel = kernel[:, :, ::-1]
                kernel = kernel / np.array(config.rgb_std)[:, None]
            bias = variables.get(f"{name}/b", np.zeros(kernel.shape[-1])).astype(np.float64)
            if f"{name}/bn/gamma" in variables:
                scale, offset = _batch_norm(variables, f"{name}/bn", config.norm_epsilon)
                kernel, bias = kernel * scale, bias * scale + offset
            layers[name] = Weights(kernel.astype(np.float32), bias.astype(np.float32))
        elif leaf == "gamma" and not name.endswith("/bn"):
            norms[name] = Scales(values, variables[f"{name}/beta"])
    return Folded(layers, norms)


def _batch_norm(
    variables: Mapping[str, NDArray[np.float32]], name: str, epsilon: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and offset of each channel."""
    gamma, beta, mean, variance = (
        variables[f"{name}/{leaf}"].astype(np.float64)
        for leaf in ("gamma", "beta", "mean/EMA", "variance/EMA")
    )
    scale = gamma / np.sqrt(variance + epsilon)
    return scale, beta - mean * scale
