"""Logs of containers, from CloudWatch."""

from collections.abc import Sequence
from typing import Any

from maskrcnn_sagemaker.aws import Aws, Call
from maskrcnn_server.errors import DeploymentFailed

ENDPOINTS = "/aws/sagemaker/Endpoints"
TRANSFORM_JOBS = "/aws/sagemaker/TransformJobs"
LINES = 20


def last_lines(aws: Aws, group: str, prefix: str | None = None) -> Sequence[str]:
    """Last lines of the group's newest stream whose name begins with `prefix`.

    Empty if there is no log or no permission: it is read after something else failed.
    """
    asked: dict[str, Any] = {"logGroupName": group}
    if prefix is None:
        asked |= {"orderBy": "LastEventTime", "descending": True, "limit": 1}
    else:
        asked["logStreamNamePrefix"] = prefix
    try:
        found = aws.find(Call("logs", "DescribeLogStreams", asked))
        streams = [] if found is None else found["logStreams"]
        if not streams:
            return ()
        newest = max(streams, key=lambda stream: stream.get("lastEventTimestamp", 0))
        wanted = {
            "logGroupName": group,
            "logStreamName": newest["logStreamName"],
            "limit": LINES,
            "startFromHead": False,
        }
        events = aws.call(Call("logs", "GetLogEvents", wanted))["events"]
    except DeploymentFailed:
        return ()
    return tuple(event["message"].rstrip() for event in events)


def with_log(message: str, lines: Sequence[str]) -> str:
    """The message, followed by the container's last log lines."""
    if not lines:
        return message
    return "\n".join([f"{message}; the container's log ends with:", *lines])
