"""Writing TensorFlow's checkpoints."""

from pathlib import Path

from maskrcnn_network.checkpoints.writing import Values
from maskrcnn_tensorflow.tf_environment import quietly


def write_checkpoint(values: Values, stem: Path) -> None:
    """Write `<stem>.index` and its data file like TensorFlow's saver."""
    with quietly():
        import tensorflow as tf

    tf.raw_ops.SaveV2(
        prefix=str(stem),
        tensor_names=list(values),
        shape_and_slices=[""] * len(values),
        tensors=[tf.constant(value) for value in values.values()],
    )
