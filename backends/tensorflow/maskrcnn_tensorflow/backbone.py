"""ResNet with bottleneck blocks (He et al. 2015), padded as TensorPack pads it."""

import tensorflow as tf

from maskrcnn_tensorflow.layers import Layers


def resnet(images: tf.Tensor, layers: Layers, blocks: tuple[int, ...]) -> list[tf.Tensor]:
    """Feature maps C2 to C5 of normalised `images` (batch, height, width, 3), at strides 4 to 32.

    Height and width are multiples of 32. Zeros are padded on the top and left of every
    strided operation ("AlignPadding", `TF_PAD_MODE=False`), so that pixel (0, 0) of each map is
    centred on pixel (0, 0) of the image. Source: TensorPack, FasterRCNN/modeling/backbone.py.
    """
    x = tf.pad(images, [[0, 0], [3, 2], [3, 2], [0, 0]])
    x = tf.nn.relu(layers.conv("conv0", x, 2, "VALID"))
    x = tf.pad(x, [[0, 0], [1, 0], [1, 0], [0, 0]])
    x = tf.nn.max_pool2d(x, 3, 2, "VALID")
    maps = []
    for group, count in enumerate(blocks):
        for block in range(count):
            stride = 2 if group > 0 and block == 0 else 1
            x = _bottleneck(f"group{group}/block{block}", x, layers, stride)
        maps.append(x)
    return maps


def _bottleneck(name: str, x: tf.Tensor, layers: Layers, stride: int) -> tf.Tensor:
    shortcut = x
    if f"{name}/convshortcut" in layers:
        shortcut = layers.conv(f"{name}/convshortcut", x, stride)
    x = tf.nn.relu(layers.conv(f"{name}/conv1", x))
    if stride == 1:
        x = layers.conv(f"{name}/conv2", x)
    else:
        x = layers.conv(
            f"{name}/conv2", tf.pad(x, [[0, 0], [1, 0], [1, 0], [0, 0]]), stride, "VALID"
        )
    x = tf.nn.relu(x)
    return tf.nn.relu(layers.conv(f"{name}/conv3", x) + shortcut)
