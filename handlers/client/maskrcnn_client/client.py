"""A client of a server, at a URL or behind a SageMaker endpoint."""

import asyncio
import contextlib
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from maskrcnn_client.animations import File, unpacked
from maskrcnn_client.endpoints import InThreads, SageMaker
from maskrcnn_client.errors import ClientError, ConnectionBroken, IncompleteReply
from maskrcnn_client.frames import in_order, in_order_async
from maskrcnn_client.images import Image, fitted, payload
from maskrcnn_client.options import Options, attributes, for_images, for_tiles
from maskrcnn_client.prediction import Prediction, read
from maskrcnn_client.replies import Reply, Request
from maskrcnn_client.retry import BUSY, Backoff
from maskrcnn_client.streams import Piece, Stream, Tile, tile_of
from maskrcnn_client.transports import (
    AsyncHttp,
    AsyncOpened,
    AsyncTransport,
    Http,
    Opened,
    Transport,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

API_KEY = "MASKRCNN_API_KEY"
"""Environment variable with the server's key."""
NOTHING: Mapping[str, str] = MappingProxyType({})

T = TypeVar("T", bound="Transport | AsyncTransport")

Conversation: TypeAlias = Generator[Request, Reply, Prediction]
"""Requests about one image, each after the reply to the one before, over any transport."""

logger = logging.getLogger(__name__)


class _Connected(ABC, Generic[T]):
    """What both clients have in common."""

    def __init__(
        self,
        target: str | T,
        *,
        max_payload_mb: float | None = None,
        retry_s: float = 60,
        timeout_s: float = 120,
        headers: Mapping[str, str] = NOTHING,
        api_key: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        target_model: str | None = None,
    ) -> None:
        if not isinstance(target, str):
            self._transport = target
        elif "://" in target:
            self._transport = self._http(target, timeout_s, {**_authorization(api_key), **headers})
        else:
            endpoint = SageMaker(target, timeout_s, region, profile, target_model)
            self._transport = self._sagemaker(endpoint)
        self._limit_mb = self._transport.limit_mb if max_payload_mb is None else max_payload_mb
        self._retry_s = retry_s

    @abstractmethod
    def _http(self, url: str, timeout_s: float, headers: Mapping[str, str]) -> T: ...

    @abstractmethod
    def _sagemaker(self, endpoint: SageMaker) -> T: ...


class Client(_Connected[Transport]):
    """Asks a server. For any thread; close it, or use it as a context manager.

    `target` is a URL, for which `headers` and `api_key` (default: `MASKRCNN_API_KEY` of the
    environment) are, or the name of a SageMaker endpoint, for which `region`, `profile` and, if it
    hosts several models, `target_model` are. An image that makes a request of more than
    `max_payload_mb` MiB is sent smaller; the default is SageMaker's limit, or what a server says
    that refuses one. A busy server is asked again for `retry_s` seconds; `timeout_s` is for each
    try. A transport in place of the target needs only the first two.

    Raises InvalidTarget, or NotInstalled if boto3 is needed and missing.
    """

    def predict(self, image: Image, **options: "Unpack[Options]") -> Prediction:
        """The instances in an image.

        Raises RequestRefused, and ImageRefused or InvalidOption of that kind; ServerUnavailable,
        ServerFailed, ServerUnreachable or InvalidReply; NotInstalled if the image has to be made
        smaller without Pillow; OSError for a file that cannot be read.
        """
        conversation = _conversation(image, attributes(options), self._limit_mb)
        turn = _step(conversation, None)
        while isinstance(turn, Request):
            turn = _step(conversation, self._reply(turn))
        return turn

    def tiles(self, image: Image, **options: "Unpack[Options]") -> Iterator[Tile]:
        """Each tile of an image as soon as it is done; `tile` says how large they are.

        Together, the tiles' predictions have what `predict` has: `joined`. Raises what `predict`
        raises; IncompleteReply if the reply ends early; InvalidOption for `max_detections`, because
        instances come before the best are known.
        """
        with contextlib.closing(self._streamed([image], for_tiles(options))) as pieces:
            for _, found in pieces:
                yield tile_of(found)

    def images(
        self, images: Sequence[Image], **options: "Unpack[Options]"
    ) -> Iterator[tuple[int, Prediction | ClientError]]:
        """The number of each image and what is in it, or why that is not known, as they are done.

        All are sent in one request, which may have 32; `frames` sends any number. Raises what
        `predict` raises, for all of them, and IncompleteReply if the reply ends early.
        """
        with contextlib.closing(self._streamed(images, for_images(options))) as pieces:
            for number, found in pieces:
                yield number, found.prediction if isinstance(found, Tile) else found

    def frames(
        self, frames: Iterable[Image] | File, *, at_once: int = 4, **options: "Unpack[Options]"
    ) -> Iterator[Prediction]:
        """The prediction of each frame, in order. `at_once` frames, 1 to 64, are with the server.

        `frames` are images, or the file of an animated one (GIF, WebP, PNG), which needs Pillow. A
        frame is taken from them when there is room for it. Raises what `predict` raises.
        """
        return in_order(unpacked(frames), lambda frame: self.predict(frame, **options), at_once)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reply(self, request: Request) -> Reply:
        """The first reply that is not busy, or the last one before time is over.

        A prediction changes nothing, and so may be asked for twice.
        """
        backoff = Backoff(self._retry_s)
        while True:
            try:
                reply = self._transport.send(request)
            except ConnectionBroken:
                if (wait_s := backoff.next_s(None)) is None:
                    raise
            else:
                if reply.status not in BUSY:
                    return reply
                if (wait_s := backoff.next_s(reply.retry_after_s)) is None:
                    return reply
            time.sleep(wait_s)

    def _streamed(self, images: Sequence[Image], options: str) -> Generator[Piece, None, None]:
        """What a streamed reply says of images, as it comes."""
        stream = Stream([payload(image) for image in images], options, self._limit_mb)
        while True:
            with self._opened(stream.request) as (reply, chunks):
                if not stream.begins(reply):
                    continue
                try:
                    for chunk in chunks:
                        yield from stream.read(chunk)
                except IncompleteReply as error:
                    raise stream.cut(error.message) from error
                stream.finish()
                return

    @contextlib.contextmanager
    def _opened(self, request: Request) -> Iterator[Opened]:
        """As `_reply`, for a streamed one; what was begun is not asked for again."""
        backoff = Backoff(self._retry_s)
        while True:
            with contextlib.ExitStack() as stack:
                try:
                    opened = stack.enter_context(self._transport.opened(request))
                except ConnectionBroken:
                    if (wait_s := backoff.next_s(None)) is None:
                        raise
                else:
                    if opened[0].status in BUSY:
                        after = backoff.next_s(opened[0].retry_after_s)
                    else:
                        after = None
                    if after is None:
                        yield opened
                        return
                    wait_s = after
            time.sleep(wait_s)

    def _http(self, url: str, timeout_s: float, headers: Mapping[str, str]) -> Transport:
        return Http(url, timeout_s, headers)

    def _sagemaker(self, endpoint: SageMaker) -> Transport:
        return endpoint


class AsyncClient(_Connected[AsyncTransport]):
    """The same for coroutines of asyncio: `await client.predict(...)`."""

    async def predict(self, image: Image, **options: "Unpack[Options]") -> Prediction:
        """Like `Client.predict`; images and replies are encoded and decoded in another thread."""
        conversation = _conversation(image, attributes(options), self._limit_mb)
        turn = await asyncio.to_thread(_step, conversation, None)
        while isinstance(turn, Request):
            turn = await asyncio.to_thread(_step, conversation, await self._reply(turn))
        return turn

    async def tiles(self, image: Image, **options: "Unpack[Options]") -> AsyncIterator[Tile]:
        """Like `Client.tiles`."""
        async with contextlib.aclosing(self._streamed([image], for_tiles(options))) as pieces:
            async for _, found in pieces:
                yield tile_of(found)

    async def images(
        self, images: Sequence[Image], **options: "Unpack[Options]"
    ) -> AsyncIterator[tuple[int, Prediction | ClientError]]:
        """Like `Client.images`."""
        async with contextlib.aclosing(self._streamed(images, for_images(options))) as pieces:
            async for number, found in pieces:
                yield number, found.prediction if isinstance(found, Tile) else found

    def frames(
        self,
        frames: Iterable[Image] | AsyncIterable[Image] | File,
        *,
        at_once: int = 4,
        **options: "Unpack[Options]",
    ) -> AsyncIterator[Prediction]:
        """Like `Client.frames`."""
        return in_order_async(
            unpacked(frames), lambda frame: self.predict(frame, **options), at_once
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _reply(self, request: Request) -> Reply:
        backoff = Backoff(self._retry_s)
        while True:
            try:
                reply = await self._transport.send(request)
            except ConnectionBroken:
                if (wait_s := backoff.next_s(None)) is None:
                    raise
            else:
                if reply.status not in BUSY:
                    return reply
                if (wait_s := backoff.next_s(reply.retry_after_s)) is None:
                    return reply
            await asyncio.sleep(wait_s)

    async def _streamed(self, images: Sequence[Image], options: str) -> AsyncGenerator[Piece, None]:
        def prepared() -> Stream:
            return Stream([payload(image) for image in images], options, self._limit_mb)

        stream = await asyncio.to_thread(prepared)
        while True:
            request = await asyncio.to_thread(lambda: stream.request)
            async with self._opened(request) as (reply, chunks):
                if not await asyncio.to_thread(stream.begins, reply):
                    continue
                try:
                    async for chunk in chunks:
                        for piece in await asyncio.to_thread(list, stream.read(chunk)):
                            yield piece
                except IncompleteReply as error:
                    raise stream.cut(error.message) from error
                stream.finish()
                return

    @contextlib.asynccontextmanager
    async def _opened(self, request: Request) -> AsyncIterator[AsyncOpened]:
        backoff = Backoff(self._retry_s)
        while True:
            async with contextlib.AsyncExitStack() as stack:
                try:
                    opened = await stack.enter_async_context(self._transport.opened(request))
                except ConnectionBroken:
                    if (wait_s := backoff.next_s(None)) is None:
                        raise
                else:
                    if opened[0].status in BUSY:
                        after = backoff.next_s(opened[0].retry_after_s)
                    else:
                        after = None
                    if after is None:
                        yield opened
                        return
                    wait_s = after
            await asyncio.sleep(wait_s)

    def _http(self, url: str, timeout_s: float, headers: Mapping[str, str]) -> AsyncTransport:
        return AsyncHttp(url, timeout_s, headers)

    def _sagemaker(self, endpoint: SageMaker) -> AsyncTransport:
        return InThreads(endpoint)


def _authorization(api_key: str | None) -> Mapping[str, str]:
    key = os.environ.get(API_KEY) if api_key is None else api_key
    return {"Authorization": f"Bearer {key}"} if key else {}


def _conversation(image: Image, options: str, limit_mb: float | None) -> Conversation:
    given = payload(image)
    sent = fitted(given, limit_mb)
    reply = yield Request(sent.body, sent.content_type, options)
    if reply.limit_mb is not None:
        sent = fitted(given, reply.limit_mb)
        reply = yield Request(sent.body, sent.content_type, options)
    if reply.status != 200:
        raise reply.error()
    for note in sent.notes:
        logger.warning("%s", note)
    return read(reply, given, sent)


def _step(conversation: Conversation, reply: Reply | None) -> Request | Prediction:
    """What comes next after a reply; None: at the beginning."""
    try:
        return next(conversation) if reply is None else conversation.send(reply)
    except StopIteration as end:
        prediction: Prediction = end.value
        return prediction
