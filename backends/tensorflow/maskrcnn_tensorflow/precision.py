"""Which floating-point numbers GPUs compute convolutions and matrix products in."""

import tensorflow as tf

from maskrcnn_server.backend import Precision

GPU_CAPABILITY = {"bfloat16": (8, 0), "float16": (7, 0)}
"""CUDA's compute capability from which there are instructions for such products."""


def gpu_lacks(index: int, precision: Precision) -> str | None:
    """Why TensorFlow cannot compute so on the GPU of this index: None if it can."""
    gpus = tf.config.list_physical_devices("GPU")
    if index >= len(gpus):
        return (
            f"TensorFlow sees {len(gpus)} GPUs here: pip install 'tensorflow[and-cuda]', or name "
            "one that is there"
        )
    details = tf.config.experimental.get_device_details(gpus[index])
    has, needs = details.get("compute_capability", (0, 0)), GPU_CAPABILITY.get(precision, (0, 0))
    if has >= needs:
        return None
    return f"this GPU's compute capability is {has}, not {needs} or more, as {precision} needs"
