"""Importing TensorFlow with fewer of its notices."""

import os


def quiet() -> None:
    """Have TensorFlow log errors only, unless the operator decided; call it before the import.

    The few lines that it prints while it is imported no setting removes.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
