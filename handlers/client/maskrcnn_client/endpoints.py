"""Endpoints of SageMaker, by boto3."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any

from maskrcnn_client.errors import (
    ConnectionBroken,
    IncompleteReply,
    InvalidTarget,
    ServerUnreachable,
)
from maskrcnn_client.libraries import required
from maskrcnn_client.replies import Reply, Request
from maskrcnn_client.transports import (
    ACCEPT,
    LINES,
    AsyncOpened,
    Opened,
    Transport,
    is_lines,
    seconds,
)

ENDPOINT_LIMIT_MB = 6
"""Largest request of a real-time endpoint of SageMaker; a serverless one takes 4."""


class SageMaker:
    """An endpoint of SageMaker, by boto3, which looks for credentials where it always does."""

    limit_mb = ENDPOINT_LIMIT_MB

    def __init__(
        self,
        endpoint: str,
        timeout_s: float,
        region: str | None = None,
        profile: str | None = None,
        target_model: str | None = None,
    ) -> None:
        boto3 = required("boto3", "boto3", "sagemaker", "an endpoint of SageMaker")
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        self._named = {"EndpointName": endpoint, "Accept": ACCEPT}
        if target_model is not None:
            self._named["TargetModel"] = target_model
        # The client waits and tries again, not boto3.
        config = Config(read_timeout=timeout_s, retries={"total_max_attempts": 1})
        try:
            session = boto3.Session(profile_name=profile, region_name=region)
            self._client = session.client("sagemaker-runtime", config=config)
        except BotoCoreError as error:
            raise InvalidTarget(str(error)) from error
        self._client.meta.events.register("after-call", _keep_text)

    def send(self, request: Request) -> Reply:
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        try:
            reply = self._client.invoke_endpoint(
                **self._named,
                ContentType=request.content_type,
                CustomAttributes=request.options,
                Body=request.body,
            )
            body = reply["Body"].read()
        except ClientError as error:
            return _refused(error.response)
        except BotoCoreError as error:
            kind = ConnectionBroken if isinstance(error, HTTPClientError) else ServerUnreachable
            raise kind(f"SageMaker: {type(error).__name__}: {error}") from error
        return Reply(200, body, attributes=reply.get("CustomAttributes", ""))

    @contextmanager
    def opened(self, request: Request) -> Iterator[Opened]:
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        if "TargetModel" in self._named:
            raise InvalidTarget("SageMaker streams no replies of endpoints with several models")
        try:
            reply = self._client.invoke_endpoint_with_response_stream(
                EndpointName=self._named["EndpointName"],
                Accept=LINES,
                ContentType=request.content_type,
                CustomAttributes=request.options,
                Body=request.body,
            )
        except ClientError as error:
            yield _refused(error.response), iter(())
            return
        except BotoCoreError as error:
            kind = ConnectionBroken if isinstance(error, HTTPClientError) else ServerUnreachable
            raise kind(f"SageMaker: {type(error).__name__}: {error}") from error
        with closing(reply["Body"]) as events:
            is_streamed = is_lines(reply.get("ContentType", ""))
            yield Reply(200, b"", is_streamed=is_streamed), _parts(events)

    def close(self) -> None:
        self._client.close()


class InThreads:
    """A transport for coroutines around one that blocks."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.limit_mb = transport.limit_mb

    async def send(self, request: Request) -> Reply:
        return await asyncio.to_thread(self._transport.send, request)

    @asynccontextmanager
    async def opened(self, request: Request) -> AsyncIterator[AsyncOpened]:
        asked = self._transport.opened(request)
        reply, pieces = await asyncio.to_thread(asked.__enter__)
        try:
            yield reply, _in_threads(pieces)
        finally:
            await asyncio.to_thread(asked.__exit__, None, None, None)

    async def close(self) -> None:
        await asyncio.to_thread(self._transport.close)


async def _in_threads(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


def _keep_text(http_response: Any, parsed: dict[str, Any], **_: Any) -> None:
    """Have boto3 keep the whole text of a refusal."""
    if http_response.status_code >= 300:
        parsed.setdefault("OriginalMessage", http_response.text)


def _parts(events: Any) -> Iterator[bytes]:
    """The bytes in events of SageMaker."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        for event in events:
            yield event.get("PayloadPart", {}).get("Bytes", b"")
    except (BotoCoreError, ClientError) as error:
        raise IncompleteReply(f"SageMaker: the reply was cut off: {error}") from error


def _refused(response: Mapping[str, Any]) -> Reply:
    """The container's own refusal, where SageMaker wraps one, else SageMaker's."""
    metadata = response["ResponseMetadata"]
    status = int(response.get("OriginalStatusCode") or metadata["HTTPStatusCode"])
    if "Throttling" in response["Error"].get("Code", ""):
        status = 429
    after = seconds(metadata.get("HTTPHeaders", {}).get("retry-after"))
    return Reply(status, str(response.get("OriginalMessage", "")).encode(), after)
