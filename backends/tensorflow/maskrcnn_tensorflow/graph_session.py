"""Graphs that other programs saved, run as they are."""

import re
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from maskrcnn_network.checkpoints.tensor_bundle import TensorBundle
from maskrcnn_server.errors import BackendFailed, BackendTimedOut, InvalidModel
from maskrcnn_server.work import meter
from maskrcnn_tensorflow.graph_file import SAVED_MODEL, TAG, Graph, Used, check_size

PLACES = re.compile(r"(?s)Graph execution error:\n.*\nNode: [^\n]*\n")
MAX_SECONDS = 120
"""Maximum time of a run. Loops of a graph may have no end."""


class GraphSession:
    """A graph from a file, on the CPU. Only what `outputs` (tensors by name) need is loaded.

    Raises InvalidModel if an operator is not allowed, or TensorFlow cannot load the graph.
    """

    def __init__(self, path: Path, outputs: Mapping[str, str], threads: int) -> None:
        self._outputs = outputs
        try:
            definition, graph = _parsed(path)
            used, restoring = graph.used(outputs.values()), graph.used_to_restore()
            with tf.Graph().as_default() as loaded:
                tf.graph_util.import_graph_def(_part(definition, used, restoring), name="")
        except InvalidModel as error:
            raise InvalidModel(f"{path}: {error.message}") from None
        except (DecodeError, ValueError, KeyError, TypeError, tf.errors.OpError) as error:
            raise InvalidModel(f"{path}: TensorFlow cannot load it: {_told(error)}") from error
        config = tf.compat.v1.ConfigProto(
            device_count={"GPU": 0},
            intra_op_parallelism_threads=threads,
            inter_op_parallelism_threads=threads,
            use_per_session_threads=True,
        )
        self._options = tf.compat.v1.RunOptions(timeout_in_ms=MAX_SECONDS * 1000)
        self._session = tf.compat.v1.Session(graph=loaded, config=config)
        if graph.restoring is not None:
            self._restore(path.with_name("variables") / "variables.index", *graph.restoring)

    def run(self, outputs: list[str], feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The values of outputs, for tensors by name.

        Raises BackendTimedOut after MAX_SECONDS, BackendFailed with TensorFlow's message.
        """
        wanted = [self._outputs[name] for name in outputs]
        try:
            found: list[NDArray[Any]] = self._session.run(wanted, feed, self._options)
        except tf.errors.DeadlineExceededError:
            raise BackendTimedOut(f"the graph ran for more than {MAX_SECONDS} s") from None
        except tf.errors.OpError as error:
            raise BackendFailed(f"the graph refuses the image: {_told(error)}") from error
        return found

    def close(self) -> None:
        """Free the graph and its variables."""
        self._session.close()

    def _restore(self, index: Path, given: str, target: str) -> None:
        if not index.is_file():
            raise InvalidModel(f"{index}: missing, although {SAVED_MODEL} has variables")
        for name, entry in TensorBundle(index).entries.items():
            if prod(entry.shape) > max(entry.size, 1):
                raise InvalidModel(f"{index}: {name} has {entry.size} bytes for {entry.shape}")
        try:
            feed = {given: str(index.with_suffix(""))}
            node = self._session.graph.get_operation_by_name(target.partition(":")[0])
            self._session.run(node, feed, self._options)
        except (tf.errors.OpError, ValueError, KeyError) as error:
            raise InvalidModel(f"{index}: TensorFlow cannot read it: {_told(error)}") from error


def _parsed(path: Path) -> tuple[GraphDef, Graph]:
    """The graph as TensorFlow reads it, and what was read from that for the checks."""
    check_size(path)
    data = path.read_bytes()
    if path.name != SAVED_MODEL:
        definition = GraphDef.FromString(data)
        text = definition.SerializeToString()
        return definition, Graph(text, meter(path), saved_model=False)
    saved = SavedModel.FromString(data)
    (meta,) = [m for m in saved.meta_graphs if TAG in m.meta_info_def.tags][:1]
    text = saved.SerializeToString()
    return meta.graph_def, Graph(text, meter(path), saved_model=True)


def _part(whole: GraphDef, *used: Used) -> GraphDef:
    """The part of a graph that is used."""
    nodes = set[str]().union(*(part.nodes for part in used))
    functions = set[str]().union(*(part.functions for part in used))
    kept = GraphDef(versions=whole.versions)
    kept.node.extend(node for node in whole.node if node.name in nodes)
    own = (f for f in whole.library.function if f.signature.name in functions)
    kept.library.function.extend(own)
    return kept


def _told(error: Exception) -> str:
    """The first line of what TensorFlow says, without the places in code of the graph's nodes."""
    said = error.message if isinstance(error, tf.errors.OpError) else str(error)
    lines = PLACES.sub("", said).strip().splitlines()
    return (lines or [type(error).__name__])[0][:300]
