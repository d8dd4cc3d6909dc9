"""Bodies at a gate of Ray Serve."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from starlette.requests import Request

pytest.importorskip("ray.serve")

from maskrcnn_ray.exchange import Forwarded, Replied
from maskrcnn_ray.serve import BodyLimits, Gate

if TYPE_CHECKING:
    from starlette.types import Message

MIB = 1 << 20


class Replicas:
    """Replicas that answer when they may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()

    def remote(self, asked: Forwarded) -> Any:
        async def replied() -> Replied:
            await self.may.wait()
            return Replied(200, [], str(len(asked.body)).encode())

        return replied()


def request(*chunks: bytes) -> Request:
    """A request whose body comes in chunks; after an empty one, nothing comes."""
    left = list(chunks)

    async def receive() -> Message:
        if not left[0]:
            await asyncio.Event().wait()
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": []}
    scope |= {"query_string": b"", "scheme": "http", "server": ("a", 80)}
    return Request(scope, receive)


def code(reply: Any) -> str:
    return str(json.loads(reply.body)["error"]["code"])


def test_bodies_of_one_gate_have_limits_of_size_and_time() -> None:
    async def tried() -> None:
        replicas = Replicas()
        gate = Gate(replicas, BodyLimits(1, 1.5, 0.2))
        assert code(await gate(request(b"x" * MIB, b"x"))) == "payload_too_large"
        assert code(await gate(request(b"x", b""))) == "request_too_slow"
        first = asyncio.create_task(gate(request(b"x" * MIB)))
        await asyncio.sleep(0.05)
        assert (await gate(request(b"x" * MIB))).status_code == 503
        replicas.may.set()
        assert (await first).body == str(MIB).encode()
        assert (await gate(request(b"x" * MIB))).status_code == 200

    asyncio.run(tried())
