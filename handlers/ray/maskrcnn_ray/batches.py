"""Images in batches, which become parts; those of a worker that ended come back."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from maskrcnn_ray.heads import MAX_IMAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from maskrcnn_ray.work import Item

FIRST_IMAGES = 8
"""Number of images of a batch while nothing is known of the model's speed."""
BATCH_S = 10.0
"""Time that a worker takes for a batch: about what is lost three times when it ends."""
MAX_TRIES = 3
"""Number of workers that may end with a batch before its images go one by one."""


@dataclass
class Batch:
    """Images that a worker does together."""

    items: Sequence[Item]
    tries: int = 0
    """Number of times that it has been tried in vain."""
    is_alone: bool = False
    """Whether its worker does nothing else meanwhile: whoever ends with it ends by it."""


class Batches:
    """The images that are not done, as many at a time as a worker does in `BATCH_S` seconds."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items: Iterator[Item] = iter(items)
        self._back: deque[Batch] = deque()
        self._alone: deque[Batch] = deque()
        self._size = FIRST_IMAGES

    def remain(self) -> bool:
        """Whether there is a batch left."""
        if not self._back and (items := list(islice(self._items, self._size))):
            self._back.append(Batch(items))
        return bool(self._back or self._alone)

    def next_alone(self) -> Batch | None:
        """A batch that a worker must do alone; None if there is none."""
        return self._alone.popleft() if self._alone else None

    def has_alone(self) -> bool:
        """Whether there is a batch that a worker must do alone."""
        return bool(self._alone)

    def next(self) -> Batch | None:
        """A batch that came back, else the next one; None if there is none left."""
        return self._back.popleft() if self.remain() and self._back else None

    def came_back(self, batch: Batch) -> list[Item]:
        """Take back what was tried in vain; an image that was tried alone too often is returned."""
        batch.tries += 1
        if batch.tries < MAX_TRIES:
            (self._alone if batch.is_alone else self._back).append(batch)
        elif not batch.is_alone:
            self._alone.extend(Batch([item], is_alone=True) for item in batch.items)
        else:
            return list(batch.items)
        return []

    def adapt(self, speed: float) -> None:
        """Make batches as large as a worker needs that does so many images a second."""
        self._size = max(1, min(int(speed * BATCH_S), 2 * self._size, MAX_IMAGES))


class Clock:
    """Measures how fast a worker is. Its batches end several at a time, so all of them count."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._images = 0

    def speed(self, images: int) -> float:
        """Images a second since the start, with those that are done now."""
        self._images += images
        return self._images / max(time.monotonic() - self._start, 1e-3)
