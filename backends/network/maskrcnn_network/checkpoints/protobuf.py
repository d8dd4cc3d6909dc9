"""Protocol buffers, read without their library and field by field: nothing is copied that is not
asked for. Source: protobuf's wire format."""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from maskrcnn_server.work import STEP_BYTES, Meter

Data: TypeAlias = mmap.mmap | bytes


@dataclass(slots=True, eq=False)
class Message:
    """A message in `data` from `start` to `end`.

    Its methods raise ValueError or IndexError if it is damaged, TooMuchWork if it takes too long.
    """

    data: Data
    start: int
    end: int
    meter: Meter

    def __iter__(self) -> Iterator[tuple[int, "int | Message"]]:
        """Field numbers, with their numbers or messages."""
        at, data = self.start, self.data
        while at < self.end:
            self.meter.spend()
            tag, at = (data[at], at + 1) if data[at] < 128 else self._varint(at)
            field, kind = tag >> 3, tag & 7
            if kind == 0:
                value, at = self._varint(at)
                yield field, value
            elif kind == 2:
                length, at = (data[at], at + 1) if data[at] < 128 else self._varint(at)
                if at + length > self.end:
                    raise ValueError("it is truncated")
                yield field, Message(self.data, at, at + length, self.meter)
                at += length
            elif kind in (1, 5):
                at += 8 if kind == 1 else 4
            else:
                raise ValueError(f"unexpected wire type {kind}")

    def messages(self, *fields: int) -> Iterator["Message"]:
        """The messages in these fields."""
        for field, value in self:
            if field in fields and isinstance(value, Message):
                yield value

    def number(self, field: int) -> int:
        """The number in a field; 0 without it."""
        return next((v for f, v in self if f == field and isinstance(v, int)), 0)

    def text(self, field: int) -> str:
        """The text in a field; empty without it."""
        found = next(self.messages(field), None)
        return "" if found is None else str(found)

    def __str__(self) -> str:
        """The message, which is a text."""
        self.meter.spend((self.end - self.start) // STEP_BYTES)
        return self.data[self.start : self.end].decode()

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while shift < 64:
            byte = self.data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
            shift += 7
        raise ValueError("a number of more than 64 bits")
