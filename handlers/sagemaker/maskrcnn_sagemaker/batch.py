"""Batch transform jobs."""

import time
from collections.abc import Sequence
from typing import Any

from maskrcnn_sagemaker.aws import Aws, Call
from maskrcnn_sagemaker.deployment import Batch
from maskrcnn_sagemaker.endpoints import POLL_S, Pause, Say
from maskrcnn_sagemaker.logs import TRANSFORM_JOBS, last_lines, with_log
from maskrcnn_server.errors import DeploymentFailed


def calls(batch: Batch) -> list[Call]:
    """Calls for a job; the last is made when the job has ended."""
    return [batch.create_model(), batch.create_job(), batch.delete_model()]


def transform(
    aws: Aws, batch: Batch, planned: Sequence[Call], say: Say, pause: Pause = time.sleep
) -> None:
    """Make the planned calls, the last one when the job has ended.

    Raises DeploymentFailed with SageMaker's reason and the container's last log lines.
    """
    *before, start, removal = planned
    for call in before:
        say(call.title)
        aws.call(call)
    say(start.title)
    try:
        aws.call(start)
    except DeploymentFailed:
        aws.find(removal)
        raise
    job = _ended(aws, batch.job, say, pause)
    aws.find(removal)
    if job["TransformJobStatus"] != "Completed":
        reason = job.get("FailureReason") or "no reason is given"
        message = f"job {batch.job} is {job['TransformJobStatus']}: {reason}"
        raise DeploymentFailed(with_log(message, last_lines(aws, TRANSFORM_JOBS, f"{batch.job}/")))


def _ended(aws: Aws, name: str, say: Say, pause: Pause) -> Any:
    seen = None
    while True:
        job = aws.call(Call("sagemaker", "DescribeTransformJob", {"TransformJobName": name}))
        state = job["TransformJobStatus"]
        if state != seen:
            say(f"{name}: {state}")
        seen = state
        if state not in ("InProgress", "Stopping"):
            return job
        pause(POLL_S)
