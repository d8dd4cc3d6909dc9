"""Good requests, whose answers are known: they are asked before the attack, and compared later."""

import asyncio
import base64
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np

from maskrcnn_study.benchmark.client import Answer
from maskrcnn_study.campaign.exchange import Place, exchange, post
from maskrcnn_study.campaign.pictures import SIDES, encoded, shapes
from maskrcnn_study.campaign.tally import Tally, error_code

IMAGES = 12
TRIES = 6
"""Number of times that a good request is sent before the attack, at most."""
MAX_BOX_PX = 2.0
"""Difference of the corners of a box at most: integers round differently in other batches."""
MAX_SCORE = 0.02
BUSY = ("queue_full", "overloaded")
"""Refusals that a good request may get from a server under attack."""


class NotServed(Exception):
    """The server does not answer good requests before the attack."""


@dataclass(frozen=True)
class Known:
    """A request and the right reply."""

    request: bytes
    answer: list[dict[str, object]]
    """Its annotations."""


async def known(place: Place) -> Sequence[Known]:
    """Good requests, and what a server without other requests replies. Raises NotServed."""
    found = []
    for request in requests():
        reply = await _right(place, request)
        if reply is None or reply.status != 200:
            raise NotServed(f"a good request gets {reply}")
        found.append(Known(request, json.loads(reply.body)["annotations"]))
    if not any(one.answer for one in found):
        raise NotServed("the model detects nothing in images of shapes: nothing can be compared")
    return found


async def _right(place: Place, request: bytes) -> Answer | None:
    """The reply that comes twice: a faulty server may hurt one."""
    replies: list[Answer | None] = []
    for _ in range(TRIES):
        reply = await exchange(place, request)
        if reply is not None and reply.status == 200 and reply in replies:
            return reply
        replies.append(reply)
    return next((reply for reply in replies if reply and reply.status == 200), replies[-1])


def requests(path: str = "/invocations") -> Sequence[bytes]:
    """Images of shapes in each content type."""
    made = []
    for number in range(IMAGES):
        image = shapes(100 + number, SIDES[number % len(SIDES)])
        png = encoded(image)
        array = BytesIO()
        np.save(array, np.asarray(image))
        fields = json.dumps({"img_id": str(number), "img_data": base64.b64encode(png).decode()})
        bodies = [
            ("image/png", png),
            ("application/json", fields.encode()),
            ("application/x-npy", array.getvalue()),
        ]
        content_type, body = bodies[number // len(SIDES) % len(bodies)]
        made.append(post(path, content_type, body, "Accept: application/json"))
    return made


async def check(
    place: Place, cases: Sequence[Known], chance: random.Random, tally: Tally, end: asyncio.Event
) -> None:
    """Ask the known requests until the end, and compare the replies."""
    while not end.is_set():
        case = chance.choice(cases)
        judge(case, await exchange(place, case.request), tally)


def judge(case: Known, reply: Answer | None, tally: Tally) -> None:
    """Count a reply, and as wrong if it is not the right one."""
    is_busy = reply is not None and error_code(reply.body) in BUSY
    if reply is None or reply.status == 500 or is_busy or _is_right(case, reply):
        tally.add(reply, case.request)
    else:
        tally.add_wrong(case.request, reply)


def _is_right(case: Known, reply: Answer) -> bool:
    try:
        annotations = json.loads(reply.body)["annotations"]
    except (ValueError, KeyError, TypeError):
        return False
    if len(annotations) != len(case.answer):
        return False
    return all(_same(ours, theirs) for ours, theirs in zip(annotations, case.answer, strict=True))


def _same(one: dict[str, object], other: dict[str, object]) -> bool:
    box, other_box = np.array(one["bbox"], float), np.array(other["bbox"], float)
    return (
        one["category_id"] == other["category_id"]
        and bool(np.all(np.abs(box - other_box) <= MAX_BOX_PX))
        and abs(float(str(one["score"])) - float(str(other["score"]))) <= MAX_SCORE
    )
