"""The commands that host a model on Amazon SageMaker, and its runtime's routes."""

from collections.abc import Callable

from maskrcnn_server import hookimpl
from maskrcnn_server.extensions import Command, Routes

api_version = "1.0"

EXAMPLES = {
    "pack": ("maskrcnn-server pack model",),
    "deploy": (
        "maskrcnn-server deploy mask-rcnn --image URI --role ARN --model s3://bucket/model.tar.gz "
        "--instance-type ml.m5.xlarge",
    ),
    "status": ("maskrcnn-server status mask-rcnn",),
    "invoke": ("maskrcnn-server invoke mask-rcnn photo.jpg --out drawn",),
    "delete": ("maskrcnn-server delete mask-rcnn",),
}
"""Command lines that `--help` shows, by command."""


@hookimpl
def register_commands(register: Callable[[Command], None]) -> None:
    """`pack`, `deploy`, `status`, `invoke`, `delete`."""
    from maskrcnn_sagemaker.commands.delete import delete
    from maskrcnn_sagemaker.commands.deploy import deploy
    from maskrcnn_sagemaker.commands.invoke import invoke
    from maskrcnn_sagemaker.commands.pack import pack
    from maskrcnn_sagemaker.commands.status import status

    for run in (pack, deploy, status, invoke, delete):
        register(Command(run.__name__, run, "SageMaker", EXAMPLES[run.__name__]))


@hookimpl
def register_routes(register: Callable[[Routes], None]) -> None:
    """Asynchronous and streamed invocations."""
    from maskrcnn_sagemaker.runtime import RuntimeRoutes

    register(RuntimeRoutes())
