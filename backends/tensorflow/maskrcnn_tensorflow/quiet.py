"""Importing TensorFlow without a page of its notices."""

import os


def quiet() -> None:
    """Have TensorFlow log errors only, unless the operator decided; call it before the import."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
