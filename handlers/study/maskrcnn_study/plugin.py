"""The commands that prepare, measure and compare models and servers."""

from collections.abc import Callable

from maskrcnn_server import hookimpl
from maskrcnn_server.extensions import Command

api_version = "1.0"

EXAMPLES = {
    "convert": (
        "maskrcnn-server convert model.tar.gz small --to npz16",
        "maskrcnn-server convert model small --to npz16 --coco instances.json --images images",
    ),
    "calibrate": ("maskrcnn-server calibrate model images",),
    "export": (
        "maskrcnn-server export model saved",
        "maskrcnn-server export model out --format onnx --int8 --calibrate images",
    ),
    "verify": ("maskrcnn-server verify model photo.jpg --original tensorpack/examples/FasterRCNN",),
    "evaluate": (
        "maskrcnn-server evaluate --model model --coco instances.json --images images",
        "maskrcnn-server evaluate --url http://127.0.0.1:8080 --coco truth.json --images images",
    ),
    "compare": (
        "maskrcnn-server compare old-model new-model images",
        "maskrcnn-server compare my-endpoint http://127.0.0.1:8080 images --fail-below 0.99",
    ),
    "bench": (
        "maskrcnn-server bench photo.jpg --model model",
        "maskrcnn-server bench photo.jpg --url http://127.0.0.1:8080 --concurrency 1,8",
    ),
    "faults": ("maskrcnn-server faults --minutes 2 --seed 22",),
}
"""Command lines that `--help` shows, by command."""


@hookimpl
def register_commands(register: Callable[[Command], None]) -> None:
    """`convert`, `calibrate`, `export`; `verify`, `evaluate`, `compare`, `bench`, `faults`."""
    from maskrcnn_study.commands.bench import bench
    from maskrcnn_study.commands.calibrate import calibrate
    from maskrcnn_study.commands.compare import compare
    from maskrcnn_study.commands.convert import convert
    from maskrcnn_study.commands.evaluate import evaluate
    from maskrcnn_study.commands.export import export
    from maskrcnn_study.commands.faults import faults
    from maskrcnn_study.commands.verify import verify

    for run, group in (
        *((convert, "Models"), (calibrate, "Models"), (export, "Models")),
        *((verify, "Results"), (evaluate, "Results"), (compare, "Results")),
        *((bench, "Results"), (faults, "Results")),
    ):
        register(Command(run.__name__, run, group, EXAMPLES[run.__name__]))
