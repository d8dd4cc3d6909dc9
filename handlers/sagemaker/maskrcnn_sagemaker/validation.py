"""Calls, checked against AWS's own description of them before any is made."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from maskrcnn_sagemaker.aws import Call, FromReply
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.optional import required


def checked(calls: Sequence[Call]) -> list[Call]:
    """The calls. Raises InvalidSetting for parameters that AWS does not know, as a file of extras
    may have."""
    required("boto3", "maskrcnn-server[sagemaker]")
    from botocore.validate import ParamValidator

    for call in calls:
        shape = _service(call.service).operation_model(call.operation).input_shape
        report = ParamValidator().validate(_plain(call.parameters), shape)
        if report.has_errors():
            raise InvalidSetting(f"{call.operation}: {report.generate_report()}")
    return list(calls)


@cache
def _service(name: str) -> Any:
    import botocore.session

    return botocore.session.get_session().get_service_model(name)


def _plain(value: Any) -> Any:
    """The parameters with texts for what is known only later."""
    if isinstance(value, FromReply):
        return str(value)
    if isinstance(value, Path):
        return b""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
