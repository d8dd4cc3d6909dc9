"""The bodies of requests that are in memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from maskrcnn_server.errors import Overloaded


class Bodies:
    """The bytes of the bodies of all requests together: `max_bytes` at most."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.held = 0
        """Number of bytes in memory."""

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """A function that counts bytes of one body, which are held as long as the context lasts.

        It raises Overloaded if there is no room for them.
        """
        mine = 0

        def add(length: int) -> None:
            nonlocal mine
            if self.held + length > self._max_bytes:
                raise Overloaded(
                    f"the bodies of requests take {self._max_bytes >> 20} MiB already; "
                    "try again in a second",
                    retry_after_s=1,
                )
            mine += length
            self.held += length

        try:
            yield add
        finally:
            self.held -= mine
