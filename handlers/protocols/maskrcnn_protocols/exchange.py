"""A route that translates: another protocol's request to this server's, and errors back."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

from anyio import to_thread
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from maskrcnn_handlers.answer.reply import Reply, refusal
from maskrcnn_handlers.http.host import front_end, response
from maskrcnn_handlers.request.envelope import ATTRIBUTES, Envelope
from maskrcnn_handlers.request.requests import JSON, check_size
from maskrcnn_server.errors import MaskRCNNError, RequestError

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]
S = TypeVar("S", bound=BaseModel)


class Exchange:
    """The endpoint of a route.

    `ours` makes a request of this server from the body, which is asked of the model that the path
    names, if it has `{model}`; it may raise RequestError. `theirs` writes an error as the protocol
    has it, and `finish` what else is different in a reply.
    """

    def __init__(
        self,
        ours: Callable[[Envelope], Envelope],
        theirs: Callable[[str], dict[str, Any]] | None = None,
        target: Callable[[Request], str | None] = lambda request: request.path_params.get("model"),
        finish: Callable[[Reply], Reply] = lambda reply: reply,
    ) -> None:
        self._ours = ours
        self._theirs = theirs
        self._target = target
        self._finish = finish

    async def answer(self, request: Request) -> Response:
        """Answer a request."""
        try:
            return response(self._told(await self._reply(request)))
        except ClientDisconnect:
            return Response()
        except MaskRCNNError as error:
            return response(self._told(refusal(error)))

    async def _reply(self, request: Request) -> Reply:
        server, headers = front_end(request), request.headers
        kind, accept = headers.get("content-type", ""), headers.get("accept", "")
        attributes = headers.get(ATTRIBUTES, "")
        async with server.body(request) as body:
            given = Envelope.of(body, kind, accept, attributes, self._target(request))
            return await server.reply(request, await to_thread.run_sync(self._ours, given))

    def _told(self, reply: Reply) -> Reply:
        if not reply.code:
            return self._finish(reply)
        if self._theirs is None:
            return reply
        message = json.loads(reply.body)["error"]["message"]
        return replace(reply, body=json.dumps(self._theirs(message)).encode())


def same(envelope: Envelope) -> Envelope:
    """The request as it is."""
    return envelope


def plain_error(message: str) -> dict[str, Any]:
    """`{"error": "text"}`"""
    return {"error": message}


def rewritten(
    envelope: Envelope,
    body: Mapping[str, Any] | None,
    attributes: Mapping[str, str] | None = None,
) -> Envelope:
    """The envelope with this JSON as its body (None: its own), and these custom attributes more."""
    more = {**envelope.attributes, **(attributes or {})}
    if body is None:
        return replace(envelope, attributes=more, accept="")
    text = json.dumps({name: value for name, value in body.items() if value is not None})
    return replace(envelope, body=text.encode(), content_type=JSON, accept="", attributes=more)


def content(body: bytes, schema: type[S]) -> S:
    """The JSON of a body. Raises RequestError."""
    check_size(body)
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise RequestError(f"{where}: {first['msg']}", field=where) from None
