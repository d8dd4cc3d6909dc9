"""Memory of what was read from files, for as long as several plugins look at them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_remembered: ContextVar[dict[object, Any] | None] = ContextVar("remembered", default=None)


@contextmanager
def remembering() -> Iterator[None]:
    """Compute each `remembered` value once inside this context, in this thread; then forget it."""
    token = _remembered.set({})
    try:
        yield
    finally:
        _remembered.reset(token)


def remembered(make: Callable[[], T], *key: object) -> T:
    """The value of `make` for this key, not to be changed. Errors are not remembered."""
    values = _remembered.get()
    if values is None:
        return make()
    if key not in values:
        values[key] = make()
    value: T = values[key]
    return value


def read_once(read: Callable[[Path], T], path: Path) -> T:
    """The value of `read` for a file, which is read again if it changes."""
    state = path.stat()
    return remembered(lambda: read(path), read, path, state.st_size, state.st_mtime_ns)
