"""Several pictures at a time, and what goes wrong with one of them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from maskrcnn_server.errors import BackendFailed, MaskRCNNError, RequestError

Item = TypeVar("Item")
Found = TypeVar("Found")


def answered(
    ask: Callable[[Item], Found], items: Iterable[Item], concurrency: int
) -> Iterator[tuple[Item, Found | MaskRCNNError]]:
    """Each item with its answer, in order; `concurrency` are asked about at a time.

    Items are taken when there is room for them. An error that is about one picture is its answer;
    any other is raised.
    """
    with ThreadPoolExecutor(concurrency) as pool:
        pending: deque[tuple[Item, Future[Found]]] = deque()

        def first() -> tuple[Item, Found | MaskRCNNError]:
            item, future = pending.popleft()
            try:
                return item, future.result()
            except (RequestError, BackendFailed) as error:
                return item, error

        try:
            for item in items:
                pending.append((item, pool.submit(ask, item)))
                # Who is slow does not keep the others from work.
                if len(pending) == 2 * concurrency:
                    yield first()
            while pending:
                yield first()
        finally:
            for _, future in pending:
                future.cancel()
