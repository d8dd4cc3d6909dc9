"""Layers as values: a kernel, a bias, and the handful of operations that use them."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

BATCH_NORM_EPSILON = 1e-5
"""TensorPack's `BatchNorm(epsilon=1e-5)`; the same in AWS Samples."""


class Layer(NamedTuple):
    """A layer's kernel (convolution: height, width, in, out; dense: in, out) and bias (out,)."""

    kernel: tf.Tensor
    bias: tf.Tensor


class Layers:
    """The layers of a network by name.

    Their tensors are captured by the graphs that use them, not copied into each: a graph of
    constants runs about as fast, takes four times as long to start and twice the memory.
    """

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        self._layers = layers

    def __contains__(self, name: str) -> bool:
        return name in self._layers

    def __getitem__(self, name: str) -> Layer:
        return self._layers[name]

    def conv(self, name: str, x: tf.Tensor, stride: int = 1, padding: str = "SAME") -> tf.Tensor:
        """Convolve `x` (batch, height, width, in) and add the bias."""
        kernel, bias = self[name]
        return tf.nn.bias_add(tf.nn.conv2d(x, kernel, stride, padding), bias)

    def deconv(self, name: str, x: tf.Tensor) -> tf.Tensor:
        """Transposed convolution, 2 x 2 with stride 2; the kernel is (2, 2, out, in)."""
        kernel, bias = self[name]
        n, height, width = tf.unstack(tf.shape(x)[:3])
        shape = [n, 2 * height, 2 * width, kernel.shape[2]]
        return tf.nn.bias_add(tf.nn.conv2d_transpose(x, kernel, shape, 2), bias)

    def dense(self, name: str, x: tf.Tensor) -> tf.Tensor:
        """Multiply `x` (n, in) with the kernel and add the bias."""
        kernel, bias = self[name]
        return tf.nn.bias_add(tf.matmul(x, kernel), bias)


def fold(variables: Mapping[str, NDArray[np.float32]], input_scale: NDArray[np.float64]) -> Layers:
    """Layers of `variables` (`<layer>/W`, `/b`, `/bn/...`), batch norm folded into the kernels.

    gamma * (W x - mean) / sqrt(variance + epsilon) + beta is itself a convolution, with kernel
    W * scale and bias beta - mean * scale. conv0 also takes over the reversal of the channels (the
    network was trained on BGR, images here are RGB) and their `input_scale` (3,), in RGB order.
    Computed in float64, kept as float32.
    """
    layers = {}
    for name in (variable.removesuffix("/W") for variable in variables if variable.endswith("/W")):
        kernel = variables[f"{name}/W"].astype(np.float64)
        if name == "conv0":
            kernel = kernel[:, :, ::-1] * input_scale[:, None]
        if f"{name}/bn/gamma" in variables:
            gamma, beta, mean, variance = (
                variables[f"{name}/bn/{leaf}"].astype(np.float64)
                for leaf in ("gamma", "beta", "mean/EMA", "variance/EMA")
            )
            scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
            kernel, bias = kernel * scale, beta - mean * scale
        else:
            bias = variables[f"{name}/b"].astype(np.float64)
        layers[name] = Layer(tf.constant(kernel, tf.float32), tf.constant(bias, tf.float32))
    return Layers(layers)
