"""Floating-point types in which GPUs compute convolutions and matrix products."""

import tensorflow as tf

from maskrcnn_server.backend import Precision

GPU_CAPABILITY = {"bfloat16": (8, 0), "float16": (7, 0)}
"""Minimum CUDA compute capability with instructions for such products."""


def gpu_lacks(index: int, precision: Precision) -> str | None:
    """Why TensorFlow cannot compute in `precision` on the GPU of this index. None: it can."""
    gpus = tf.config.list_physical_devices("GPU")
    if index >= len(gpus):
        return (
            f"TensorFlow finds {len(gpus)} GPUs, none with index {index}: choose another one, or "
            "pip install 'tensorflow[and-cuda]'"
        )
    details = tf.config.experimental.get_device_details(gpus[index])
    has, needs = details.get("compute_capability", (0, 0)), GPU_CAPABILITY.get(precision, (0, 0))
    if has >= needs:
        return None
    own, least = (".".join(map(str, version)) for version in (has, needs))
    return f"this GPU has compute capability {own}, but {precision} needs {least} or more"
