"""Invokes an endpoint, in either of SageMaker's ways."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from maskrcnn_annotation_formats.reading import annotations
from maskrcnn_predict.addresses import Address, address
from maskrcnn_sagemaker.aws import RUNTIME, Aws, Call
from maskrcnn_sagemaker.components import of_kind
from maskrcnn_sagemaker.endpoints import Pause, configuration
from maskrcnn_sagemaker.objects import content
from maskrcnn_server.errors import DeploymentFailed, RequestError

CONTENT_TYPE = "application/x-image"
REQUESTS = "requests"
"""Prefix of requests, below that of an asynchronous endpoint's results."""
ASYNC_POLL_S = 1


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """An image file, and the options of the request."""

    endpoint: str
    image: bytes
    options: str = ""
    """Value of the header X-Amzn-SageMaker-Custom-Attributes."""
    target_model: str | None = None
    """Archive below the prefix of a multi-model endpoint."""
    component: str | None = None
    """Name of the inference component that has the model."""

    def parameters(self) -> dict[str, str]:
        """The parameters of either kind of invocation."""
        named = {"EndpointName": self.endpoint, "ContentType": CONTENT_TYPE}
        return {**named, "Accept": "application/json", "CustomAttributes": self.options}


@dataclass(frozen=True, kw_only=True)
class Way:
    """How an endpoint wants to be asked."""

    output: Address | None = None
    """Where an asynchronous endpoint puts its results; None: it is of another kind."""
    component: str | None = None
    """Name of the inference component that has the model; None: the endpoint has it."""


def way(aws: Aws, endpoint: str) -> Way:
    """How an endpoint wants to be asked. Raises DeploymentFailed if there is no such endpoint."""
    found = configuration(aws, endpoint)
    if found is None:
        raise DeploymentFailed(f"there is no endpoint {endpoint}: `deploy` makes one")
    _, config = found
    output = config.get("AsyncInferenceConfig", {}).get("OutputConfig")
    return Way(
        output=None if output is None else address(output["S3OutputPath"]),
        component=endpoint if of_kind(config) == "component" else None,
    )


def invoke(aws: Aws, invocation: Invocation) -> Any:
    """The reply, in the format `sagemaker`.

    Raises DeploymentFailed with what the container said.
    """
    named = {
        "TargetModel": invocation.target_model,
        "InferenceComponentName": invocation.component,
    }
    target = {name: value for name, value in named.items() if value}
    parameters = {**invocation.parameters(), **target, "Body": invocation.image}
    reply = aws.call(Call(RUNTIME, "InvokeEndpoint", parameters))
    return _reply(reply["Body"].read())


def invoke_async(
    aws: Aws,
    invocation: Invocation,
    output: Address,
    timeout_s: float,
    pause: Pause = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Any:
    """The reply, which comes by way of S3 as the image goes.

    Raises DeploymentFailed with what the container said, or if there is no reply in time.
    """
    digest = hashlib.sha256(invocation.image).hexdigest()[:16]
    place = Address(output.bucket, f"{output.below(REQUESTS)}/{digest}")
    put = {"Bucket": place.bucket, "Key": place.key, "Body": invocation.image}
    aws.call(Call("s3", "PutObject", put))
    parameters = {**invocation.parameters(), "InputLocation": str(place)}
    accepted = aws.call(Call(RUNTIME, "InvokeEndpointAsync", parameters))
    deadline = clock() + timeout_s
    while clock() < deadline:
        if (body := content(aws, address(accepted["OutputLocation"]))) is not None:
            return _reply(body)
        where = accepted.get("FailureLocation")
        if where and (failure := content(aws, address(where))) is not None:
            raise DeploymentFailed(f"the container failed: {failure.decode(errors='replace')}")
        pause(ASYNC_POLL_S)
    raise DeploymentFailed(
        f"no reply after {timeout_s:g} s; when there is one, it is {accepted['OutputLocation']}"
    )


def _reply(body: bytes) -> Any:
    try:
        reply = json.loads(body)
        annotations(reply)
    except (ValueError, RequestError):
        start = body[:80].decode(errors="replace")
        raise DeploymentFailed(f"the reply is not one of this server's: {start}") from None
    return reply
