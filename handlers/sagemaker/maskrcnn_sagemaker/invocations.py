"""Asking an endpoint, in either of SageMaker's ways."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from maskrcnn_handlers.formats.sagemaker import Annotation
from maskrcnn_sagemaker.aws import RUNTIME, Aws, Call
from maskrcnn_sagemaker.endpoints import Pause, configuration
from maskrcnn_sagemaker.objects import content
from maskrcnn_server.errors import DeploymentFailed
from maskrcnn_server.store.addresses import Address, address

CONTENT_TYPE = "application/x-image"
REQUESTS = "requests"
"""The prefix, below an asynchronous endpoint's answers, that questions are put under."""
ASYNC_POLL_S = 1


@dataclass(frozen=True, kw_only=True)
class Question:
    """An image file, and the options of the request."""

    endpoint: str
    image: bytes
    options: str = ""
    """As in the header X-Amzn-SageMaker-Custom-Attributes."""
    target_model: str | None = None
    """Of a multi-model endpoint: the archive below its prefix."""

    def parameters(self) -> dict[str, str]:
        """What every kind of invocation is told."""
        named = {"EndpointName": self.endpoint, "ContentType": CONTENT_TYPE}
        return {**named, "Accept": "application/json", "CustomAttributes": self.options}


def output_of(aws: Aws, endpoint: str) -> Address | None:
    """Where an asynchronous endpoint puts its answers; None if it is of another kind.

    Raises DeploymentFailed if there is no such endpoint.
    """
    found = configuration(aws, endpoint)
    if found is None:
        raise DeploymentFailed(f"there is no endpoint {endpoint}: `deploy` makes one")
    _, config = found
    output = config.get("AsyncInferenceConfig", {}).get("OutputConfig")
    return None if output is None else address(output["S3OutputPath"])


def ask(aws: Aws, question: Question) -> list[Annotation]:
    """The annotations of a picture. Raises DeploymentFailed, with what the container said."""
    target = {"TargetModel": question.target_model} if question.target_model else {}
    parameters = {**question.parameters(), **target, "Body": question.image}
    reply = aws.call(Call(RUNTIME, "InvokeEndpoint", parameters))
    return _annotations(reply["Body"].read())


def ask_later(
    aws: Aws,
    question: Question,
    output: Address,
    timeout_s: float,
    pause: Pause = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> list[Annotation]:
    """The annotations of a picture that goes, as the answer comes, by way of S3.

    Raises DeploymentFailed with what the container said, or if there is no answer in time.
    """
    digest = hashlib.sha256(question.image).hexdigest()[:16]
    place = Address(output.bucket, f"{output.below(REQUESTS)}/{digest}")
    put = {"Bucket": place.bucket, "Key": place.key, "Body": question.image}
    aws.call(Call("s3", "PutObject", put))
    parameters = {**question.parameters(), "InputLocation": str(place)}
    accepted = aws.call(Call(RUNTIME, "InvokeEndpointAsync", parameters))
    deadline = clock() + timeout_s
    while clock() < deadline:
        if (answer := content(aws, address(accepted["OutputLocation"]))) is not None:
            return _annotations(answer)
        where = accepted.get("FailureLocation")
        if where and (failure := content(aws, address(where))) is not None:
            raise DeploymentFailed(f"the container failed: {failure.decode(errors='replace')}")
        pause(ASYNC_POLL_S)
    raise DeploymentFailed(
        f"no answer after {timeout_s:g} s; when there is one, it is {accepted['OutputLocation']}"
    )


def _annotations(answer: bytes) -> list[Annotation]:
    try:
        document: Any = json.loads(answer)
        annotations: list[Annotation] = document["annotations"]
    except (ValueError, KeyError, TypeError):
        start = answer[:80].decode(errors="replace")
        raise DeploymentFailed(f"the answer is none of this server's: {start}") from None
    return annotations
