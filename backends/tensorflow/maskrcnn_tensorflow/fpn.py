"""The feature pyramid (Lin et al. 2017)."""

import tensorflow as tf

from maskrcnn_tensorflow.layers import Layers


def pyramid(maps: list[tf.Tensor], layers: Layers) -> list[tf.Tensor]:
    """P2 to P6 (batch, height, width, channels) from C2 to C5; P6 is every second pixel of P5."""
    laterals = [
        layers.norm(f"fpn/gn_c{i}", layers.conv(f"fpn/lateral_1x1_c{i}", c))
        for i, c in enumerate(maps, start=2)
    ]
    merged = [laterals[-1]]
    for lateral in reversed(laterals[:-1]):
        merged.insert(0, lateral + _upsample2(merged[0]))
    outputs = [
        layers.norm(f"fpn/gn_p{i}", layers.conv(f"fpn/posthoc_3x3_p{i}", m))
        for i, m in enumerate(merged, start=2)
    ]
    return [*outputs, outputs[-1][:, ::2, ::2]]


def _upsample2(x: tf.Tensor) -> tf.Tensor:
    return tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)
