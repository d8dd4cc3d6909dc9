"""What is left in memory after a body."""

import asyncio

import pytest
from starlette.requests import Request

from maskrcnn_handlers.http import bodies
from maskrcnn_handlers.http.bodies import Bodies


def test_after_a_large_body_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    held = Bodies(1000, 1, lambda _: None)
    monkeypatch.setattr(bodies, "give_back_memory_soon", lambda: asked.append(held.held))
    monkeypatch.setattr(bodies, "LARGE_BYTES", 10)

    async def read(size: int) -> None:
        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": bytes(size)}

        async with held.body(Request({"type": "http", "headers": []}, receive)) as body:
            assert len(body) == size
            assert not asked

    asyncio.run(read(10))
    asyncio.run(read(11))
    assert asked == [0]
