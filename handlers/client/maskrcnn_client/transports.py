"""How requests get to a server and replies back: over HTTP, or by SageMaker's runtime."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from maskrcnn_client.errors import (
    ClientError,
    ConnectionBroken,
    ImageRefused,
    InvalidOption,
    InvalidReply,
    InvalidTarget,
    RequestRefused,
    ServerFailed,
    ServerUnavailable,
    ServerUnreachable,
)
from maskrcnn_client.images import Size
from maskrcnn_client.libraries import required
from maskrcnn_client.retry import BUSY

ACCEPT = "application/json"
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
ENDPOINT_LIMIT_MB = 6
"""Largest request of a real-time endpoint of SageMaker; a serverless one takes 4."""
TOO_LARGE = 413
KINDS: Mapping[str, type[ClientError]] = {
    "invalid_image": ImageRefused,
    "image_too_large": ImageRefused,
    "payload_too_large": ImageRefused,
    "invalid_request": InvalidOption,
    "not_acceptable": InvalidOption,
}
"""Classes of errors by the server's codes; what is not here has the class of its status."""


@dataclass(frozen=True)
class Request:
    """A body, and options as `key=value` separated by `;`."""

    body: bytes
    content_type: str
    options: str


@dataclass(frozen=True)
class Reply:
    """A reply, with one of HTTP's status codes."""

    status: int
    body: bytes
    retry_after_s: float | None = None
    """Seconds after which to ask again, if the server says so."""
    attributes: str = ""
    """What the server says of the image, as `key=value` separated by `;`."""

    @property
    def size(self) -> Size | None:
        """Height and width of the image, if the server says them."""
        said = dict(pair.split("=", 1) for pair in self.attributes.split(";") if "=" in pair)
        try:
            return int(said["height"]), int(said["width"])
        except (KeyError, ValueError):
            return None

    @property
    def limit_mb(self) -> float | None:
        """MiB that a request may have, if it was refused for having more."""
        if self.status != TOO_LARGE:
            return None
        try:
            return float(json.loads(self.body)["error"]["detail"]["max_payload_mb"])
        except (ValueError, KeyError, TypeError):
            return None

    def error(self) -> ClientError:
        """What the server says when it does not answer."""
        try:
            said = json.loads(self.body)
            code, message = str(said["error"]["code"]), str(said["error"]["message"])
            detail = dict(said["error"]["detail"])
        except (ValueError, KeyError, TypeError):
            start = " ".join(self.body[:300].decode(errors="replace").split())
            kind = ServerUnavailable if self.status in BUSY else InvalidReply
            message = f"the server replies {self.status}: {start or 'nothing'}"
            return kind(message, status=self.status)
        kinds = {4: RequestRefused, 5: ServerFailed}
        fallback = ServerUnavailable if self.status in BUSY else kinds.get(self.status // 100)
        return KINDS.get(code, fallback or ClientError)(
            message,
            code=code,
            detail=detail,
            request_id=said.get("request_id"),
            status=self.status,
        )


class Transport(Protocol):
    """A way to a server, for any thread."""

    @property
    def limit_mb(self) -> float | None:
        """MiB that a request may have, if that is known before one is sent."""

    def send(self, request: Request) -> Reply:
        """Raises ServerUnreachable; ConnectionBroken if it may be worth another try."""

    def close(self) -> None: ...


class AsyncTransport(Protocol):
    """The same for a coroutine."""

    @property
    def limit_mb(self) -> float | None: ...

    async def send(self, request: Request) -> Reply: ...

    async def close(self) -> None: ...


class Http:
    """A server at a URL; `/invocations` if the URL has no path."""

    limit_mb = None

    def __init__(self, url: str, timeout_s: float, headers: Mapping[str, str]) -> None:
        self._url = address(url)
        self._client = httpx.Client(timeout=timeout_s, headers={"Accept": ACCEPT, **headers})

    def send(self, request: Request) -> Reply:
        try:
            reply = self._client.post(self._url, content=request.body, headers=_headers(request))
        except httpx.TransportError as error:
            raise _broken(self._url, error) from error
        return _reply(reply)

    def close(self) -> None:
        self._client.close()


class AsyncHttp:
    """The same for a coroutine."""

    limit_mb = None

    def __init__(self, url: str, timeout_s: float, headers: Mapping[str, str]) -> None:
        self._url = address(url)
        self._client = httpx.AsyncClient(timeout=timeout_s, headers={"Accept": ACCEPT, **headers})

    async def send(self, request: Request) -> Reply:
        headers = _headers(request)
        try:
            reply = await self._client.post(self._url, content=request.body, headers=headers)
        except httpx.TransportError as error:
            raise _broken(self._url, error) from error
        return _reply(reply)

    async def close(self) -> None:
        await self._client.aclose()


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

    def close(self) -> None:
        self._client.close()


class InThreads:
    """A transport for coroutines around one that blocks."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.limit_mb = transport.limit_mb

    async def send(self, request: Request) -> Reply:
        return await asyncio.to_thread(self._transport.send, request)

    async def close(self) -> None:
        await asyncio.to_thread(self._transport.close)


def address(url: str) -> str:
    """Where requests are posted. Raises InvalidTarget."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidTarget(f"{shown(url)}: not an http:// or https:// address")
    return parts._replace(path="/invocations").geturl() if parts.path in ("", "/") else url


def shown(url: str) -> str:
    """The address without what may be secret in it: user, password, query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _headers(request: Request) -> dict[str, str]:
    return {"Content-Type": request.content_type, ATTRIBUTES: request.options}


def _reply(reply: httpx.Response) -> Reply:
    headers = reply.headers
    after = _seconds(headers.get("retry-after"))
    return Reply(reply.status_code, reply.content, after, headers.get(ATTRIBUTES, ""))


def _seconds(retry_after: str | None) -> float | None:
    """Seconds in a Retry-After header; its other form, a date, is not read."""
    digits = (retry_after or "").strip()
    return float(digits) if digits.isascii() and digits.isdigit() else None


def _broken(url: str, error: Exception) -> ServerUnreachable:
    """The error; a server that cannot be reached, or takes too long, is not asked again."""
    final = isinstance(error, httpx.ConnectError | httpx.TimeoutException | httpx.ProxyError)
    kind = ServerUnreachable if final else ConnectionBroken
    return kind(f"{shown(url)}: {type(error).__name__}: {error}".rstrip(": "))


def _keep_text(http_response: Any, parsed: dict[str, Any], **_: Any) -> None:
    """Have boto3 keep the whole text of a refusal."""
    if http_response.status_code >= 300:
        parsed.setdefault("OriginalMessage", http_response.text)


def _refused(response: Mapping[str, Any]) -> Reply:
    """The container's own refusal, where SageMaker wraps one, else SageMaker's."""
    metadata = response["ResponseMetadata"]
    status = int(response.get("OriginalStatusCode") or metadata["HTTPStatusCode"])
    if "Throttling" in response["Error"].get("Code", ""):
        status = 429
    after = _seconds(metadata.get("HTTPHeaders", {}).get("retry-after"))
    return Reply(status, str(response.get("OriginalMessage", "")).encode(), after)
