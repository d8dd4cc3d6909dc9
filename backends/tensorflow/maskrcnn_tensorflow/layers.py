"""Layers as values: kernels, biases, normalisations, and the few operations that use them."""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from maskrcnn_network.config import NetworkConfig
from maskrcnn_network.graph.folding import EPSILON, GROUPS
from maskrcnn_tensorflow import folding


class Layer(NamedTuple):
    """A layer's kernel (convolution: height, width, in, out; dense: in, out) and bias (out,)."""

    kernel: tf.Tensor
    bias: tf.Tensor


class Norm(NamedTuple):
    """Scale and offset (channels,) of a group normalisation."""

    gamma: tf.Tensor
    beta: tf.Tensor


class Layers:
    """The layers of a network by name, each computed in the type of its kernel.

    Their tensors are captured by the graphs that use them, not copied into each: a graph of
    constants runs about as fast, takes four times as long to start and twice the memory.
    """

    def __init__(self, layers: Mapping[str, Layer], norms: Mapping[str, Norm]) -> None:
        self._layers = layers
        self._norms = norms

    def __contains__(self, name: str) -> bool:
        return name in self._layers

    def __getitem__(self, name: str) -> Layer:
        return self._layers[name]

    def numbered(self, stem: str) -> list[str]:
        """The layers `<stem>0`, `<stem>1` and so on, as many as there are."""
        names = (f"{stem}{i}" for i in itertools.count())
        return list(itertools.takewhile(self.__contains__, names))

    def conv(self, name: str, x: tf.Tensor, stride: int = 1, padding: str = "SAME") -> tf.Tensor:
        """Convolve `x` (batch, height, width, in), add the bias, apply the norm `<name>/gn`."""
        kernel, bias = self[name]
        x = tf.cast(x, kernel.dtype)
        y = tf.nn.bias_add(tf.nn.conv2d(x, kernel, stride, padding), bias)
        return self.norm(f"{name}/gn", y)

    def deconv(self, name: str, x: tf.Tensor) -> tf.Tensor:
        """Transposed convolution, 2 x 2 with stride 2; the kernel is (2, 2, out, in)."""
        kernel, bias = self[name]
        n, height, width = tf.unstack(tf.shape(x)[:3])
        shape = [n, 2 * height, 2 * width, kernel.shape[2]]
        x = tf.cast(x, kernel.dtype)
        return tf.nn.bias_add(tf.nn.conv2d_transpose(x, kernel, shape, 2), bias)

    def dense(self, name: str, x: tf.Tensor) -> tf.Tensor:
        """Multiply `x` (n, in) with the kernel and add the bias."""
        kernel, bias = self[name]
        product = tf.matmul(tf.cast(x, kernel.dtype), kernel)
        # Keeps TensorFlow from fusing both: with prepared weights that takes a quarter longer.
        return tf.nn.bias_add(tf.ensure_shape(product, [None, kernel.shape[1]]), bias)

    def norm(self, name: str, x: tf.Tensor) -> tf.Tensor:
        """Group normalisation (Wu and He 2018) of `x`, or `x` where there is none of that name.

        Over 32 groups of neighbouring channels and all pixels, padding included; biased variance;
        in float32, whatever `x` is.
        """
        if name not in self._norms:
            return x
        gamma, beta = self._norms[name]
        shape = tf.shape(x)
        split = tf.concat([shape[:3], [GROUPS, gamma.shape[0] // GROUPS]], axis=0)
        grouped = tf.reshape(tf.cast(x, tf.float32), split)
        centred = grouped - _mean(grouped)
        normal = centred * tf.math.rsqrt(_mean(tf.square(centred)) + EPSILON)
        return tf.cast(tf.reshape(normal, shape) * gamma + beta, x.dtype)


def _mean(grouped: tf.Tensor) -> tf.Tensor:
    """The mean of each group of `grouped` (batch, height, width, groups, channels).

    Axis by axis: TensorFlow sums what is not adjacent in memory one by one, and in float32 a sum of
    a hundred thousand loses three digits.
    """
    for axis in (4, 2, 1):
        grouped = tf.reduce_mean(grouped, axis=axis, keepdims=True)
    return grouped


def fold(
    variables: Mapping[str, NDArray[np.float32]],
    config: NetworkConfig,
    dtype: tf.DType = tf.float32,
) -> Layers:
    """Layers of `variables` as `folding.fold` makes them, kept as `dtype`."""
    folded = folding.fold(variables, config)
    return Layers(
        {
            name: Layer(*(tf.cast(tf.constant(values), dtype) for values in weights))
            for name, weights in folded.layers.items()
        },
        {name: Norm(*map(tf.constant, scales)) for name, scales in folded.norms.items()},
    )
