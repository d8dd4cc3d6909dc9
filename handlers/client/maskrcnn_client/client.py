"""A client of a server, at a URL or behind a SageMaker endpoint."""

import asyncio
import logging
from collections.abc import Generator, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, TypeAlias

from maskrcnn_client import patience, refusals
from maskrcnn_client.answer import Answer, read
from maskrcnn_client.payload import Picture, encoded, fitted
from maskrcnn_client.transports import (
    AsyncHttp,
    AsyncTransport,
    Http,
    InThreads,
    Question,
    Reply,
    SageMaker,
    Transport,
    is_url,
)
from maskrcnn_server.errors import InvalidSetting

NOTHING: Mapping[str, Any] = MappingProxyType({})

Conversation: TypeAlias = Generator[Question, Reply, Answer]
"""What is asked, and, when that is answered, asked again or understood; over any transport."""

logger = logging.getLogger(__name__)


class Client:
    """Asks a server. For any thread; close it, or use it as a context manager.

    `target` is a URL, or the name of a SageMaker endpoint, which `region`, `profile` and, for one
    of several models, `target_model` are for; `headers` are for a URL. A picture that makes a
    request of more than `max_payload_mb` MiB is sent smaller; the default is SageMaker's limit, and
    what a server says that refuses one. For `retry_s` seconds a server that is busy is asked again;
    `timeout_s` is for each time. A transport in place of the target needs none of these but the
    first two.

    Raises InvalidSetting if what it needs is not installed, or the target is none.
    """

    def __init__(
        self,
        target: str | Transport,
        *,
        max_payload_mb: float | None = None,
        retry_s: float = 60,
        timeout_s: float = 120,
        headers: Mapping[str, str] = NOTHING,
        region: str | None = None,
        profile: str | None = None,
        target_model: str | None = None,
    ) -> None:
        transport: Transport
        if not isinstance(target, str):
            transport = target
        elif is_url(target):
            transport = Http(target, timeout_s, headers)
        else:
            transport = SageMaker(target, timeout_s, region, profile, target_model)
        self._transport = transport
        self._limit_mb = transport.limit_mb if max_payload_mb is None else max_payload_mb
        self._retry_s = retry_s

    def predict(
        self,
        picture: Picture,
        *,
        score_threshold: float | None = None,
        mask_threshold: float | None = None,
        max_detections: int | None = None,
        masks: bool = True,
        options: Mapping[str, object] = NOTHING,
    ) -> Answer:
        """The instances in a picture.

        `options` are any others of the contract's. Raises what the server raised, such as
        InvalidImage; NoAnswer if it cannot be reached, or is none; OSError for a file that cannot
        be read.
        """
        asked = _options(score_threshold, mask_threshold, max_detections, masks, options)
        talk = _conversation(picture, asked, self._limit_mb)
        turn = _step(talk, None)
        while isinstance(turn, Question):
            turn = _step(talk, self._send(turn))
        return turn

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, question: Question) -> Reply:
        if not self._retry_s:
            return self._transport.send(question)
        return patience.ask(self._transport.send, question, self._retry_s)


class AsyncClient:
    """The same for coroutines of asyncio: `await client.predict(...)`."""

    def __init__(
        self,
        target: str | AsyncTransport,
        *,
        max_payload_mb: float | None = None,
        retry_s: float = 60,
        timeout_s: float = 120,
        headers: Mapping[str, str] = NOTHING,
        region: str | None = None,
        profile: str | None = None,
        target_model: str | None = None,
    ) -> None:
        transport: AsyncTransport
        if not isinstance(target, str):
            transport = target
        elif is_url(target):
            transport = AsyncHttp(target, timeout_s, headers)
        else:
            transport = InThreads(SageMaker(target, timeout_s, region, profile, target_model))
        self._transport = transport
        self._limit_mb = transport.limit_mb if max_payload_mb is None else max_payload_mb
        self._retry_s = retry_s

    async def predict(
        self,
        picture: Picture,
        *,
        score_threshold: float | None = None,
        mask_threshold: float | None = None,
        max_detections: int | None = None,
        masks: bool = True,
        options: Mapping[str, object] = NOTHING,
    ) -> Answer:
        """As `Client.predict`. Files are read, pictures and answers decoded, in another thread."""
        asked = _options(score_threshold, mask_threshold, max_detections, masks, options)
        talk = _conversation(picture, asked, self._limit_mb)
        turn = await asyncio.to_thread(_step, talk, None)
        while isinstance(turn, Question):
            turn = await asyncio.to_thread(_step, talk, await self._send(turn))
        return turn

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _send(self, question: Question) -> Reply:
        if not self._retry_s:
            return await self._transport.send(question)
        return await patience.ask_async(self._transport.send, question, self._retry_s)


def _conversation(picture: Picture, options: str, limit_mb: float | None) -> Conversation:
    data = encoded(picture)
    sent = fitted(data, limit_mb)
    reply = yield Question(sent.body, options)
    if (told := refusals.limit_mb(reply)) is not None:
        sent = fitted(data, told)
        reply = yield Question(sent.body, options)
    if reply.status != 200:
        refusals.refuse(reply)
    for note in sent.notes:
        logger.warning("%s", note)
    return read(reply.body, data, sent)


def _step(talk: Conversation, reply: Reply | None) -> Question | Answer:
    """What comes next after a reply; None: at the beginning."""
    try:
        return next(talk) if reply is None else talk.send(reply)
    except StopIteration as end:
        answer: Answer = end.value
        return answer


def _options(
    score_threshold: float | None,
    mask_threshold: float | None,
    max_detections: int | None,
    masks: bool,
    others: Mapping[str, object],
) -> str:
    """All that is asked for, as custom attributes. The format is the compact one that is exact."""
    asked: dict[str, object] = {
        "score_threshold": score_threshold,
        "mask_threshold": mask_threshold,
        "max_detections": max_detections,
        "masks": None if masks else "false",
        **others,
        "format": "coco",
    }
    pairs = [f"{key}={value}" for key, value in asked.items() if value is not None]
    if any(";" in pair or not pair.isascii() or not pair.isprintable() for pair in pairs):
        raise InvalidSetting(f"options {others}: ASCII without ; is allowed")
    return ";".join(pairs)
