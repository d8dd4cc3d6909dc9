"""How questions get to a server and replies back: over HTTP, or by SageMaker's runtime."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from maskrcnn_server.errors import InvalidSetting, NoAnswer
from maskrcnn_server.optional import required

CONTENT_TYPE = "application/x-image"
ACCEPT = "application/json"
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
ENDPOINT_LIMIT_MB = 6
"""What a real-time endpoint of SageMaker takes; a serverless one takes 4."""


@dataclass(frozen=True)
class Question:
    """An image file, and options as `key=value` separated by `;`."""

    body: bytes
    options: str


@dataclass(frozen=True)
class Reply:
    """What came back, by HTTP's status codes."""

    status: int
    body: bytes
    retry_after_s: float | None = None
    """When to ask again, if the server says so."""


class Dropped(NoAnswer):
    """The connection broke off; the next one may not."""


class Transport(Protocol):
    """A way to a server, for any thread."""

    @property
    def limit_mb(self) -> float | None:
        """MiB that a request may have, if that is known before one is sent."""

    def send(self, question: Question) -> Reply:
        """Raises NoAnswer, Dropped if it may be worth another try."""

    def close(self) -> None: ...


class AsyncTransport(Protocol):
    """The same for a coroutine."""

    @property
    def limit_mb(self) -> float | None: ...

    async def send(self, question: Question) -> Reply: ...

    async def close(self) -> None: ...


class Http:
    """To a server at a URL, by httpx; `/invocations` if the URL has no path."""

    limit_mb = None

    def __init__(self, url: str, timeout_s: float, headers: Mapping[str, str]) -> None:
        self._url = address(url)
        self._client = _httpx().Client(timeout=timeout_s, headers=_headers(headers))

    def send(self, question: Question) -> Reply:
        httpx = _httpx()
        headers = {ATTRIBUTES: question.options}
        try:
            reply = self._client.post(self._url, content=question.body, headers=headers)
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
        self._client = _httpx().AsyncClient(timeout=timeout_s, headers=_headers(headers))

    async def send(self, question: Question) -> Reply:
        httpx = _httpx()
        headers = {ATTRIBUTES: question.options}
        try:
            reply = await self._client.post(self._url, content=question.body, headers=headers)
        except httpx.TransportError as error:
            raise _broken(self._url, error) from error
        return _reply(reply)

    async def close(self) -> None:
        await self._client.aclose()


class SageMaker:
    """To an endpoint of SageMaker, by boto3, which looks for credentials where it always does."""

    limit_mb = ENDPOINT_LIMIT_MB

    def __init__(
        self,
        endpoint: str,
        timeout_s: float,
        region: str | None = None,
        profile: str | None = None,
        target_model: str | None = None,
    ) -> None:
        boto3 = required("boto3", "maskrcnn-server[sagemaker]")
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        self._asked = {"EndpointName": endpoint, "ContentType": CONTENT_TYPE, "Accept": ACCEPT}
        if target_model is not None:
            self._asked["TargetModel"] = target_model
        # Who waits and asks again is the client.
        config = Config(read_timeout=timeout_s, retries={"total_max_attempts": 1})
        try:
            session = boto3.Session(profile_name=profile, region_name=region)
            self._client = session.client("sagemaker-runtime", config=config)
        except BotoCoreError as error:
            raise InvalidSetting(str(error)) from error
        self._client.meta.events.register("after-call", _keep_words)

    def send(self, question: Question) -> Reply:
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        options = {"CustomAttributes": question.options}
        try:
            reply = self._client.invoke_endpoint(**self._asked, **options, Body=question.body)
            return Reply(200, reply["Body"].read())
        except ClientError as error:
            return _refused(error.response)
        except BotoCoreError as error:
            kind = Dropped if isinstance(error, HTTPClientError) else NoAnswer
            raise kind(f"SageMaker: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        self._client.close()


class InThreads:
    """A transport for coroutines of one that blocks."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.limit_mb = transport.limit_mb

    async def send(self, question: Question) -> Reply:
        return await asyncio.to_thread(self._transport.send, question)

    async def close(self) -> None:
        await asyncio.to_thread(self._transport.close)


ENDPOINT_NAME = re.compile(r"[a-zA-Z0-9](?:-?[a-zA-Z0-9])*")
"""Names that SageMaker allows for endpoints."""


def is_url(target: str) -> bool:
    """Whether this is an address of a server rather than the name of an endpoint."""
    return "://" in target


def address(url: str) -> str:
    """Where questions are posted. Raises InvalidSetting."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidSetting(f"{shown(url)}: not an http:// or https:// address")
    return parts._replace(path="/invocations").geturl() if parts.path in ("", "/") else url


def shown(url: str) -> str:
    """The address without what may be secret in it: user, password, query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _httpx() -> Any:
    return required("httpx", "maskrcnn-server[client]")


def _headers(more: Mapping[str, str]) -> dict[str, str]:
    return {"Content-Type": CONTENT_TYPE, "Accept": ACCEPT, **more}


def _reply(reply: Any) -> Reply:
    return Reply(reply.status_code, reply.content, _seconds(reply.headers.get("retry-after")))


def _seconds(retry_after: str | None) -> float | None:
    """Of a Retry-After header; its other form, a date, is not read."""
    digits = (retry_after or "").strip()
    return float(digits) if digits.isascii() and digits.isdigit() else None


def _broken(url: str, error: Exception) -> NoAnswer:
    """What broke. A server that nobody reaches, or that takes too long, is not asked again."""
    httpx = _httpx()
    final = isinstance(error, (httpx.ConnectError, httpx.TimeoutException, httpx.ProxyError))
    kind = NoAnswer if final else Dropped
    return kind(f"{shown(url)}: {type(error).__name__}: {error}".rstrip(": "))


def _keep_words(http_response: Any, parsed: dict[str, Any], **_: Any) -> None:
    """Have boto3 keep all that is said in a refusal."""
    if http_response.status_code >= 300:
        parsed.setdefault("OriginalMessage", http_response.text)


def _refused(response: Mapping[str, Any]) -> Reply:
    """The container's own refusal, where SageMaker wraps one, else SageMaker's."""
    answered = response["ResponseMetadata"]
    status = int(response.get("OriginalStatusCode") or answered["HTTPStatusCode"])
    if "Throttling" in response["Error"].get("Code", ""):
        status = 429
    after = _seconds(answered.get("HTTPHeaders", {}).get("retry-after"))
    return Reply(status, str(response.get("OriginalMessage", "")).encode(), after)
