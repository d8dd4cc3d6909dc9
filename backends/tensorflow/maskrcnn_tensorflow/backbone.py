"""ResNet with bottleneck blocks (He et al. 2015), padded and strided as TensorPack does it.

Source: TensorPack, FasterRCNN/modeling/backbone.py.
"""

import tensorflow as tf

from maskrcnn_network.config import NetworkConfig
from maskrcnn_tensorflow.layers import Layers


def stem(images: tf.Tensor, layers: Layers, config: NetworkConfig) -> tf.Tensor:
    """What goes into the first group, at stride 4, of normalised `images` (batch, h, w, 3)."""
    x = tf.nn.relu(layers.conv("conv0", _pad(images, 3, 2, config), 2, "VALID"))
    return tf.nn.max_pool2d(_pad(x, 1, 0, config), 3, 2, "VALID")


def group(
    number: int, x: tf.Tensor, layers: Layers, blocks: int, config: NetworkConfig
) -> tf.Tensor:
    """Group `number`, 0 to 3, of the ResNet; all but the first one halve height and width."""
    for block in range(blocks):
        stride = 2 if number > 0 and block == 0 else 1
        x = _bottleneck(f"group{number}/block{block}", x, layers, stride, config)
    return x


def _bottleneck(
    name: str, x: tf.Tensor, layers: Layers, stride: int, config: NetworkConfig
) -> tf.Tensor:
    shortcut = x
    if f"{name}/convshortcut" in layers:
        shortcut = layers.conv(f"{name}/convshortcut", _crop(x, stride), stride)
    stride1, stride2 = (stride, 1) if config.stride_1x1 else (1, stride)
    x = tf.nn.relu(layers.conv(f"{name}/conv1", _crop(x, stride1), stride1))
    if stride2 == 1:
        x = layers.conv(f"{name}/conv2", x)
    else:
        x = layers.conv(f"{name}/conv2", _pad(x, 1, 0, config), stride2, "VALID")
    x = tf.nn.relu(x)
    return tf.nn.relu(layers.conv(f"{name}/conv3", x) + shortcut)


def _crop(x: tf.Tensor, stride: int) -> tf.Tensor:
    """For a 1 x 1 convolution of this stride, which has no use for a last odd row or column."""
    return x if stride == 1 else x[:, :-1, :-1]


def _pad(x: tf.Tensor, before: int, after: int, config: NetworkConfig) -> tf.Tensor:
    """Zeros on the top and left (`before`) and on the bottom and right, "AlignPadding".

    Pixel (0, 0) of each feature map is then centred on pixel (0, 0) of the image. Networks with
    `TF_PAD_MODE` have it the other way round.
    """
    sides = [after, before] if config.tf_pad_mode else [before, after]
    return tf.pad(x, [[0, 0], sides, sides, [0, 0]])
