"""Shards: the share of the images that one of several processes takes."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from maskrcnn_server.errors import InvalidSetting

MAX_SHARDS = 100_000
SHARD = re.compile(r"(auto|[0-9]{1,6})(?:/([0-9]{1,6}))?")


@dataclass(frozen=True)
class Shard:
    """One of `count` shares, by its index from 0."""

    index: int
    count: int

    def has(self, name: str) -> bool:
        """Whether an image is in this shard, by its name alone.

        So it stays where it is when images are added.
        """
        digest = hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index:05}-of-{self.count:05}"


WHOLE = Shard(0, 1)


@dataclass(frozen=True)
class _Array:
    """Variables by which a scheduler of jobs says which of several a process is."""

    index: str
    count: str | None
    first: str | None = None
    step: str | None = None


ARRAYS = {
    "AWS Batch": _Array("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
    "Kubernetes": _Array("JOB_COMPLETION_INDEX", None),
    "Slurm": _Array(
        "SLURM_ARRAY_TASK_ID",
        "SLURM_ARRAY_TASK_COUNT",
        "SLURM_ARRAY_TASK_MIN",
        "SLURM_ARRAY_TASK_STEP",
    ),
}
"""Schedulers of array jobs. An indexed Job of Kubernetes does not tell its completions."""


def named(text: str, variables: Mapping[str, str] = os.environ) -> Shard:
    """The shard of `I/N`, `auto`, or `auto/N`. Raises InvalidSetting."""
    match = SHARD.fullmatch(text)
    if match is None or (match[1] != "auto" and match[2] is None):
        raise InvalidSetting(f"--shard {text}: I/N is meant, such as 0/8, or auto, or auto/N")
    if match[1] == "auto":
        return _of_array(None if match[2] is None else int(match[2]), variables)
    return _checked(int(match[1]), int(match[2]), f"--shard {text}")


def _of_array(count: int | None, variables: Mapping[str, str]) -> Shard:
    for name, array in ARRAYS.items():
        if array.index not in variables:
            continue

        def number(variable: str | None, default: int) -> int:
            text = variables.get(variable or "", str(default))
            if not text.isdecimal():
                raise InvalidSetting(f"{variable}={text}: not a number")
            return int(text)

        index = number(array.index, 0) - number(array.first, 0)
        index //= max(1, number(array.step, 1))
        total = count or (None if array.count is None else number(array.count, 0))
        if not total:
            raise InvalidSetting(f"--shard auto: {name} does not say how many; use auto/N")
        return _checked(index, total, f"--shard auto on {name}")
    known = ", ".join(array.index for array in ARRAYS.values())
    raise InvalidSetting(f"--shard auto: no array job: none of {known} is set")


def _checked(index: int, count: int, said: str) -> Shard:
    if not 0 <= index < count <= MAX_SHARDS:
        raise InvalidSetting(
            f"{said}: index {index} of {count}; the index is 0 to N - 1, and N at most {MAX_SHARDS}"
        )
    return Shard(index, count)
