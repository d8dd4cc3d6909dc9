"""Errors as roboflow's clients read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from protocol_fixtures import Served


@pytest.mark.parametrize(
    ("path", "asked", "status", "said"),
    [
        ("/other/1", b"aaaa", 404, "no model other"),
        ("/colours/2", b"aaaa", 404, "no version"),
        ("/colours/1", b"%", 400, "not base64"),
        ("/colours/1?confidence=x", b"aaaa", 400, "are numbers"),
        ("/infer/instance_segmentation", b"{}", 400, "image"),
        (
            "/infer/instance_segmentation",
            b'{"model_id": "colours/1", "image": {"type": "url", "value": "http://x"}}',
            400,
            "image",
        ),
    ],
)
def test_errors_have_the_protocols_form(
    served: Served, path: str, asked: bytes, status: int, said: str
) -> None:
    reply = httpx.post(served.url + path, content=asked)
    assert reply.status_code == status
    assert said in reply.json()["message"]
