"""In which floating-point numbers the convolutions and matrix products are computed."""

from pathlib import Path

import tensorflow as tf

from maskrcnn_server.backend import Precision
from maskrcnn_server.errors import InvalidSetting

CPU_FLAGS = {"bfloat16": "avx512_bf16"}
"""What Linux calls a CPU's instructions for products of such numbers; without them, they are
emulated, and slower than float32."""
GPU_CAPABILITY = {"bfloat16": (8, 0), "float16": (7, 0)}
"""CUDA's compute capability from which there are such instructions."""
CPUINFO = Path("/proc/cpuinfo")


def dtype(precision: Precision) -> tf.DType:
    """TensorFlow's type of that name.

    Raises InvalidSetting where this machine has no instructions for it.
    """
    gpus = tf.config.list_physical_devices("GPU")
    reason = None
    if precision != "float32":
        reason = _gpu_lacks(precision, gpus[0]) if gpus else _cpu_lacks(precision)
    if reason:
        raise InvalidSetting(f"MASKRCNN_PRECISION={precision}: {reason}")
    return tf.dtypes.as_dtype(precision)


def _cpu_lacks(precision: Precision) -> str | None:
    flag = CPU_FLAGS.get(precision)
    if flag is None:
        return "there is no GPU, and on a CPU it is slower than float32"
    flags = CPUINFO.read_text().split() if CPUINFO.is_file() else []
    return None if flag in flags else f"this CPU has no instructions for it ({flag})"


def _gpu_lacks(precision: Precision, gpu: object) -> str | None:
    details = tf.config.experimental.get_device_details(gpu)
    has, needs = details.get("compute_capability", (0, 0)), GPU_CAPABILITY[precision]
    return None if has >= needs else f"this GPU's compute capability is {has}, not {needs} or more"
