"""Several images at a time, and what goes wrong with one of them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from maskrcnn_server.errors import BackendFailed, MaskRCNNError, RequestError

Item = TypeVar("Item")
Value = TypeVar("Value")


def in_order(
    call: Callable[[Item], Value], items: Iterable[Item], concurrency: int
) -> Iterator[tuple[Item, Value | MaskRCNNError]]:
    """Each item with what the call returns for it, in order; `concurrency` calls run at a time.

    Items are taken when there is room for them. An error about one image takes the place of its
    value; any other is raised.
    """
    with ThreadPoolExecutor(concurrency) as pool:
        pending: deque[tuple[Item, Future[Value]]] = deque()

        def first() -> tuple[Item, Value | MaskRCNNError]:
            item, future = pending.popleft()
            try:
                return item, future.result()
            except (RequestError, BackendFailed) as error:
                return item, error

        try:
            for item in items:
                pending.append((item, pool.submit(call, item)))
                # A slow call does not keep the others from work.
                if len(pending) == 2 * concurrency:
                    yield first()
            while pending:
                yield first()
        finally:
            for _, future in pending:
                future.cancel()
