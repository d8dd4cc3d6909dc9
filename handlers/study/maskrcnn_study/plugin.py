"""The commands that prepare, measure and compare models and servers."""

from collections.abc import Callable

from maskrcnn_server import hookimpl
from maskrcnn_server.extensions import Command

api_version = "1.0"


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

    for command in (
        Command("convert", convert, "Models"),
        Command("calibrate", calibrate, "Models"),
        Command("export", export, "Models"),
        Command("verify", verify, "Results"),
        Command("evaluate", evaluate, "Results"),
        Command("compare", compare, "Results"),
        Command("bench", bench, "Results"),
        Command("faults", faults, "Results"),
    ):
        register(command)
