"""How a part of a result is written: JSON lines, or Parquet."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, Protocol

from maskrcnn_ray import heads
from maskrcnn_server.errors import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from maskrcnn_ray.heads import Head
    from maskrcnn_ray.stores import Store

METADATA = b"maskrcnn_part"
"""Key of the head in a Parquet file's metadata."""


class Format(Protocol):
    """Writes lines, one for each image, and a head. It can be pickled."""

    suffix: str

    def encoded(self, head: Head, lines: Sequence[Mapping[str, Any]]) -> bytes:
        """A part. A line has `picture`, `image_id`, `version`, and `results` or `error`."""

    def head(self, store: Store, name: str) -> Head:
        """The head of a part. Raises InvalidSetting if it is none."""

    def lines(self, content: bytes) -> list[dict[str, Any]]:
        """The lines of a part."""


class JsonLines:
    """The head, then a line for each image."""

    suffix = ".jsonl"

    def encoded(self, head: Head, lines: Sequence[Mapping[str, Any]]) -> bytes:
        texts = [head.as_json(), *(json.dumps(line, separators=(",", ":")) for line in lines)]
        return "".join(f"{text}\n" for text in texts).encode()

    def head(self, store: Store, name: str) -> Head:
        return heads.parsed(store.start(name, heads.HEAD_BYTES).partition(b"\n")[0], name)

    def lines(self, content: bytes) -> list[dict[str, Any]]:
        return [json.loads(line) for line in content.splitlines()[1:]]


class Parquet:
    """A row for each image; the head is in the file's metadata.

    Columns are those of a line: `error` or `results` is null, and `image_id` is a text.
    """

    suffix = ".parquet"

    def encoded(self, head: Head, lines: Sequence[Mapping[str, Any]]) -> bytes:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [{**line, "image_id": json.dumps(line["image_id"]).strip('"')} for line in lines]
        schema = _schema().with_metadata({METADATA: head.as_json().encode()})
        file = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema), file, compression="zstd")
        return file.getvalue()

    def head(self, store: Store, name: str) -> Head:
        import pyarrow as pa
        import pyarrow.parquet as pq

        end = store.end(name, heads.HEAD_BYTES)
        try:
            # Only the end is looked at: the footer is found from there.
            metadata = pq.read_metadata(io.BytesIO(end)).metadata or {}
        except (pa.ArrowException, OSError):
            metadata = {}
        return heads.parsed(metadata.get(METADATA, b""), name)

    def lines(self, content: bytes) -> list[dict[str, Any]]:
        import pyarrow.parquet as pq

        rows = pq.read_table(io.BytesIO(content)).to_pylist()
        return [{name: value for name, value in row.items() if value is not None} for row in rows]


def parquet() -> Parquet:
    """Parquet. Raises InvalidSetting without pyarrow."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise InvalidSetting(
            "--parquet: pyarrow is not installed: pip install 'maskrcnn-ray[parquet]'"
        ) from None
    return Parquet()


def _schema() -> Any:
    import pyarrow as pa

    mask = pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])
    result = pa.struct(
        [
            ("category_id", pa.int64()),
            ("category_name", pa.string()),
            ("bbox", pa.list_(pa.float64())),
            ("score", pa.float64()),
            ("area", pa.float64()),
            ("segmentation", mask),
        ]
    )
    return pa.schema(
        [
            ("picture", pa.string()),
            ("image_id", pa.string()),
            ("version", pa.string()),
            ("results", pa.list_(result)),
            ("error", pa.struct([("code", pa.string()), ("message", pa.string())])),
        ]
    )
