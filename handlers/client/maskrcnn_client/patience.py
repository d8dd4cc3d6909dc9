"""How often, and for how long, a server that is busy is asked again: tenacity does the waiting."""

from collections.abc import Awaitable, Callable
from typing import Any

from maskrcnn_client.transports import Dropped, Question, Reply
from maskrcnn_server.optional import required

BUSY = frozenset({429, 502, 503, 504})
"""Statuses of a server, or of what is in front of one, that may answer the same request later."""
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 20


def ask(send: Callable[[Question], Reply], question: Question, retry_s: float) -> Reply:
    """The first reply that is not busy, or the last one before `retry_s` seconds are over.

    A prediction changes nothing, and so may be asked for twice. Waits grow, at random, so that many
    clients do not come back at once, and are never less than the server asks for. Raises NoAnswer.
    """
    reply: Reply = _tenacity().Retrying(**_policy(retry_s))(send, question)
    return reply


async def ask_async(
    send: Callable[[Question], Awaitable[Reply]], question: Question, retry_s: float
) -> Reply:
    """The same for a coroutine."""
    reply: Reply = await _tenacity().AsyncRetrying(**_policy(retry_s))(send, question)
    return reply


def _policy(retry_s: float) -> dict[str, Any]:
    tenacity = _tenacity()
    backoff = tenacity.wait_random_exponential(FIRST_WAIT_S, LONGEST_WAIT_S)

    def wait(state: Any) -> float:
        asked = None if state.outcome.failed else state.outcome.result().retry_after_s
        return float(backoff(state) + (asked or 0))

    def last(state: Any) -> Reply:
        reply: Reply = state.outcome.result()
        return reply

    return {
        "retry": tenacity.retry_if_result(lambda reply: reply.status in BUSY)
        | tenacity.retry_if_exception_type(Dropped),
        "wait": wait,
        "stop": tenacity.stop_before_delay(retry_s),
        "retry_error_callback": last,
    }


def _tenacity() -> Any:
    return required("tenacity", "maskrcnn-server[client]")
