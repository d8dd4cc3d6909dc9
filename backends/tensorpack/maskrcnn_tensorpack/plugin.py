"""Additions of this distribution to the server."""

from collections.abc import Callable
from pathlib import Path

from maskrcnn_server import hookimpl
from maskrcnn_server.backend import Backend, Demo, ZooModel
from maskrcnn_tensorpack import zoo
from maskrcnn_tensorpack.backend import TensorPackBackend

api_version = "1.0"

DEMO = Path(__file__).parent / "demo"


@hookimpl
def register_backends(register: Callable[[Backend], None]) -> None:
    """The TensorPack backend."""
    register(TensorPackBackend())


@hookimpl
def register_zoo(register: Callable[[ZooModel], None]) -> None:
    """TensorPack's published models."""
    for model in zoo.models():
        register(model)


@hookimpl
def register_demos(register: Callable[[Demo], None]) -> None:
    """The demo `shapes`: shapes drawn over photographs."""
    register(
        Demo(
            name="shapes",
            backend=TensorPackBackend().name,
            model_dir=DEMO / "model",
            images=sorted((DEMO / "images").iterdir()),
        )
    )
