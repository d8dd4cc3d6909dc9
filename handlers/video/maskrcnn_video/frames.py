"""Frames of clips, and which of them are used."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, NamedTuple, Protocol

from maskrcnn_server.errors import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maskrcnn_server.backend import Image
    from maskrcnn_server.rle import Size

MAX_FRAME_S = 1000
"""Longest period in seconds between two frames that are used."""
ROUNDING = 1e-6
"""Share of a period by which times may be inexact."""


class Frame(NamedTuple):
    """A frame of a clip."""

    number: int
    """Number of the frame among those that are used, from 0."""
    time_s: float
    """Time at which it is shown, which grows from frame to frame."""
    pixels: Image
    """uint8 (height, width, 3), RGB, upright."""
    duration_s: float
    """Time for which the clip shows it, about."""


class Clip(Protocol):
    """A clip that is read from its beginning."""

    rate: Fraction
    """Frames a second of those that are used; their mean, if they last different times."""
    length: int | None
    """Number of frames that are used, about. None: the clip does not say."""
    size: Size
    """Height and width in pixels, of upright frames once one is read."""
    is_timed: bool
    """Whether things move by the times of frames. If not, each frame is a step, however long it is
    shown, as in animated images."""

    def frames(self) -> Iterator[Frame]:
        """The frames that are used, in order. Raises InvalidImage for what cannot be decoded."""


class Chosen:
    """The frames that a clip shows at each multiple of a period. `fps` of None: all frames.

    `own` is the clip's number of frames a second. Raises InvalidSetting for too few.
    """

    def __init__(self, own: Fraction, fps: float | None) -> None:
        if fps is not None and not fps * MAX_FRAME_S >= 1:
            raise InvalidSetting(
                f"fps: {fps:g} frames a second; {1 / MAX_FRAME_S} or more is allowed"
            )
        is_all = fps is None or fps >= own
        self.rate = own if is_all else Fraction(str(fps)).limit_denominator(MAX_FRAME_S)
        """Frames a second of those that are used."""
        self._period_s = 0.0 if is_all else float(1 / self.rate)
        self._first_s: float | None = None
        self._due = 0
        """Number of the next multiple."""

    def has(self, time_s: float, end_s: float) -> bool:
        """Whether the frame that is shown from `time_s` to `end_s` is used; in order of time."""
        if not self._period_s:
            return True
        if self._first_s is None:
            self._first_s = time_s
        shown = ceil((end_s - self._first_s) / self._period_s - ROUNDING)
        if shown <= self._due:
            return False
        self._due = shown
        return True
