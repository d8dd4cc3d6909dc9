"""Ids of requests: in the reply, in every line of the log and in the span."""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

HEADER = "X-Request-Id"
GIVEN = ("X-Amzn-SageMaker-Inference-Id", HEADER)
"""Headers that a client may give an id in, the first of them that is sane wins."""
SANE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")

_current: ContextVar[str] = ContextVar("_current", default="")


def assign(*given: str) -> str:
    """Give the request that this task answers an id: the first sane one of those given, or a new
    one."""
    for one in given:
        if SANE.fullmatch(one):
            break
    else:
        one = uuid.uuid4().hex
    _current.set(one)
    return one


@contextmanager
def assigned(given: str = "") -> Iterator[str]:
    """The id of the request that is answered inside, in this thread: the one that is given, if it
    is sane, else the one that it has already, else a new one."""
    sane = given if SANE.fullmatch(given) else ""
    request_id = sane or _current.get() or uuid.uuid4().hex
    token = _current.set(request_id)
    try:
        yield request_id
    finally:
        _current.reset(token)


def current() -> str:
    """The id of the request that is being answered; empty outside of any."""
    return _current.get()
