"""A network of one layer, whose one detection is the whole picture.

Its class is the second one in pictures that are more blue than red.
"""

from typing import Any

from config import config
from tensorpack import ModelDesc
from tensorpack import tfv1 as tf

OUTPUTS = ["output/boxes", "output/scores", "output/labels", "output/masks"]


class ResNetC4Model(ModelDesc):  # type: ignore[misc]
    pass


class ResNetFPNModel(ModelDesc):  # type: ignore[misc]
    def inputs(self) -> Any:
        return [tf.TensorSpec((None, None, 3), tf.float32, "image")]

    def get_inference_tensor_names(self) -> Any:
        return ["image"], OUTPUTS

    def build_graph(self, image: Any) -> None:
        with tf.variable_scope("conv0"):
            kernel = tf.get_variable("W", shape=[7, 7, 3, 64])
        x = tf.nn.conv2d(image[None], kernel, [1, 4, 4, 1], "SAME")
        x = tf.transpose(x, [0, 3, 1, 2])
        for name in [f"posthoc_3x3_p{i}" for i in range(2, 6)] + ["maxpool_p6"]:
            tf.identity(x, name=f"fpn/{name}/output")
        size = tf.cast(tf.shape(image)[:2], tf.float32)
        box = tf.stack([[0.0, 0.0, size[1], size[0]]])
        tf.identity(box, name="generate_fpn_proposals/boxes")
        tf.one_hot([1], len(config.DATA.CLASS_NAMES), name="fastrcnn_all_scores")
        tf.identity(box, name=OUTPUTS[0])
        tf.constant([0.75], name=OUTPUTS[1])
        blue, _, red = tf.unstack(tf.reduce_mean(image, axis=[0, 1]))
        tf.identity(1 + tf.cast(blue > red, tf.int64)[None], name=OUTPUTS[2])
        tf.ones([1, 28, 28], name=OUTPUTS[3])
