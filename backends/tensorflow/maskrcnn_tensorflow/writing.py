"""Writing checkpoints: `.npz` as in TensorPack's zoo, and TensorFlow's V2 format."""

from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn_server.errors import InvalidModel
from maskrcnn_tensorflow.architecture import Architecture
from maskrcnn_tensorflow.checkpoint import Checkpoint
from maskrcnn_tensorflow.quiet import quiet


def write_npz(
    checkpoint: Checkpoint, architecture: Architecture, target: Path, dtype: type[np.floating[Any]]
) -> None:
    """Write the network's variables, without the optimizer's, as float32 or float16.

    Raises InvalidModel for a value that the type cannot hold.
    """
    values = {}
    for name in architecture.variables():
        value = checkpoint.read(name)
        if np.abs(value).max(initial=0) > np.finfo(dtype).max:
            raise InvalidModel(
                f"{checkpoint.path}: {name} has values too large for {dtype.__name__}"
            )
        values[name] = value.astype(dtype)
    with target.open("wb") as file:
        np.savez(file, allow_pickle=False, **values)


def write_checkpoint(checkpoint: Checkpoint, architecture: Architecture, prefix: Path) -> None:
    """Write `<prefix>.index` and its data file, as TensorFlow's saver does."""
    quiet()
    import tensorflow as tf

    names = list(architecture.variables())
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(checkpoint.read(name)) for name in names],
    )
