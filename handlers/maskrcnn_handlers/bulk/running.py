"""What the commands that ask about many pictures have in common: options, and a bar."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import chain
from typing import TypeVar

from rich.console import Console

from maskrcnn_client import Client
from maskrcnn_handlers.bulk.asking import answered
from maskrcnn_handlers.bulk.targets import Kind, Target, in_process, opened
from maskrcnn_handlers.cli.progress import counting, downloading
from maskrcnn_server import settings as environment
from maskrcnn_server.errors import InvalidSetting, MaskRCNNError
from maskrcnn_server.plugins import installed
from maskrcnn_server.settings import Settings

Asked = TypeVar("Asked")
Item = TypeVar("Item")
Found = TypeVar("Found")


def one_target(url: str | None, endpoint: str | None, model: str | None) -> Target:
    """What the options name; without any, the model of the settings. Raises InvalidSetting."""
    given: dict[Kind, str | None] = {"url": url, "endpoint": endpoint, "model": model}
    named = [Target(kind, where) for kind, where in given.items() if where is not None]
    if len(named) > 1:
        raise InvalidSetting("--url, --endpoint and --model: name one of them")
    return named[0] if named else Target("model", environment.read().model.address)


@contextmanager
def client_of(
    console: Console, target: Target, backend: str | None, region: str | None, profile: str | None
) -> Iterator[Client]:
    """A client of the target; what has to be downloaded for it is shown."""
    with ExitStack() as stack:
        with downloading(console) as progress:
            client = opened(target, installed(), progress, backend, region, profile)
            asking = stack.enter_context(client)
        yield asking


@contextmanager
def client_in_process(console: Console, settings: Settings, concurrency: int) -> Iterator[Client]:
    """A client of the settings' model, in this process."""
    with ExitStack() as stack:
        with downloading(console) as progress:
            client = in_process(installed(), settings, progress, concurrency)
            asking = stack.enter_context(client)
        yield asking


def answers(
    console: Console,
    what: str,
    opening: Callable[[], AbstractContextManager[Asked]],
    ask: Callable[[Asked, Item], Found],
    items: Iterable[Item],
    concurrency: int,
    total: int | None = None,
) -> Iterator[tuple[Item, Found | MaskRCNNError]]:
    """Each item with its answer, in order, and a bar beside; see `answered`.

    Who is asked is opened when there is something to ask.
    """
    remaining = iter(items)
    # Once, or not at all: the others are taken below.
    for first in remaining:
        with opening() as asked, counting(console, what, total) as count:
            everything = chain([first], remaining)
            for answer in answered(partial(ask, asked), everything, concurrency):
                yield answer
                count()
