"""What is read of files, remembered while several plugins look at them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_remembered: ContextVar[dict[object, Any] | None] = ContextVar("remembered", default=None)


@contextmanager
def remembering() -> Iterator[None]:
    """Make each value that is `remembered` in here once, in this thread; then forget them."""
    token = _remembered.set({})
    try:
        yield
    finally:
        _remembered.reset(token)


def remembered(make: Callable[[], T], *key: object) -> T:
    """What `make` returned for this key, which nobody changes. Errors are not remembered."""
    values = _remembered.get()
    if values is None:
        return make()
    if key not in values:
        values[key] = make()
    value: T = values[key]
    return value


def read_once(read: Callable[[Path], T], path: Path) -> T:
    """What `read` returns of a file, which is read again if it changes meanwhile."""
    state = path.stat()
    return remembered(lambda: read(path), read, path, state.st_size, state.st_mtime_ns)
