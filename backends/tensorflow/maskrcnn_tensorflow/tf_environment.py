"""Environment variables of TensorFlow, which must be set before it is imported."""

import os

FROZEN = "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"
"""Variable that lets kernels keep a convolution's weights in the layout of their last use."""


def quiet() -> None:
    """Make TensorFlow log errors only, unless the operator has set a level.

    No setting removes the few lines that it prints while it is imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def use_threads(count: int) -> None:
    """Make TensorFlow compute with `count` threads, unless the operator has set a number.

    The default is one for each CPU of the machine, even if a container may use fewer.
    """
    for pool in ("INTRAOP", "INTEROP"):
        os.environ.setdefault(f"TF_NUM_{pool}_THREADS", str(count))


def threads() -> str:
    """The number of threads with which TensorFlow computes, in words."""
    return os.environ.get("TF_NUM_INTRAOP_THREADS", "one for each CPU of the machine")


def freeze_weights() -> None:
    """Make kernels prepare weights once instead of in every call, unless the operator has set it.

    After that, this process must not train a network: it would compute with the first weights.
    """
    os.environ.setdefault(FROZEN, "1")
