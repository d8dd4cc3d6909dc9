"""What TensorFlow reads from the environment: to be set before it is imported."""

import os

FROZEN = "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"
"""Whether kernels keep a convolution's weights in the layout that they were last used in."""


def quiet() -> None:
    """Have TensorFlow log errors only, unless the operator decided.

    The few lines that it prints while it is imported no setting removes.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def use_threads(count: int) -> None:
    """Have TensorFlow compute with so many threads, unless the operator decided.

    By itself it takes one for each CPU of the machine, whatever a container may use of them.
    """
    for pool in ("INTRAOP", "INTEROP"):
        os.environ.setdefault(f"TF_NUM_{pool}_THREADS", str(count))


def threads() -> str:
    """Number of threads that TensorFlow computes with."""
    return os.environ.get("TF_NUM_INTRAOP_THREADS", "one for each CPU of the machine")


def freeze_weights() -> None:
    """Have kernels prepare weights once, not in every call, unless the operator decided.

    Nothing in this process may train a network then: it would compute with the first weights.
    """
    os.environ.setdefault(FROZEN, "1")
