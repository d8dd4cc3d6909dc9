"""What the commands for many images have in common: a predictor that is opened, and a bar."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import chain
from typing import TypeVar

from rich.console import Console

from maskrcnn_handlers.cli.showing import downloading
from maskrcnn_predict.concurrency import in_order
from maskrcnn_predict.local import ModelSpec
from maskrcnn_predict.predictors import Predictor, in_process, opened
from maskrcnn_predict.progress import counting
from maskrcnn_predict.targets import Target
from maskrcnn_server.errors import MaskRCNNError
from maskrcnn_server.plugins import installed

Opened = TypeVar("Opened")
Item = TypeVar("Item")
Value = TypeVar("Value")


@contextmanager
def predictor_of(
    console: Console, target: Target, backend: str | None, region: str | None, profile: str | None
) -> Iterator[Predictor]:
    """A predictor by the client; what has to be downloaded for it is shown."""
    with ExitStack() as stack:
        with downloading(console) as progress:
            opening = opened(target, installed(), progress, backend, region, profile)
            predictor = stack.enter_context(opening)
        yield predictor


@contextmanager
def predictor_in_process(
    console: Console, spec: ModelSpec, concurrency: int
) -> Iterator[Predictor]:
    """A predictor with a model in this process."""
    with ExitStack() as stack:
        with downloading(console) as progress:
            opening = in_process(spec, progress, concurrency)
            predictor = stack.enter_context(opening)
        yield predictor


def each(
    console: Console,
    what: str,
    opening: Callable[[], AbstractContextManager[Opened]],
    predict: Callable[[Opened, Item], Value],
    items: Iterable[Item],
    concurrency: int,
    total: int | None = None,
) -> Iterator[tuple[Item, Value | MaskRCNNError]]:
    """Each item with what is predicted for it, in order, and a bar; see `in_order`.

    What predicts is opened when there is something to predict.
    """
    remaining = iter(items)
    # Once, or not at all: the others are taken below.
    for first in remaining:
        with opening() as predictor, counting(console, what, total) as count:
            everything = chain([first], remaining)
            for pair in in_order(partial(predict, predictor), everything, concurrency):
                yield pair
                count()
