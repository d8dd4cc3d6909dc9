"""Protocol buffers written as text, read without their library or a declaration of their fields.

Source: protobuf's text format language specification. Strings one behind another are not joined.
"""

import re
from pathlib import Path
from typing import TypeAlias

from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.work import Meter, meter

Fields: TypeAlias = "list[tuple[str, str | Fields]]"
"""Names and values of a message, in the file's order."""

MAX_BYTES = 1 << 20
"""Maximum size of a file. The label map of LVIS has 150 kB."""
MAX_DEPTH = 32
"""Maximum depth of messages within messages."""
TOKEN = re.compile(
    r"""(?:[\s,;]|\#[^\n]*)*(?:(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
    r"""|(?P<word>[^\s{}<>:,;\[\]"'\#]+)|(?P<mark>[{}<>:\[\]])|\Z)"""
)
ESCAPE = re.compile(rb"\\([0-7]{1,3}|x[0-9a-fA-F]{1,2}|.)")
ESCAPED = {b"n": b"\n", b"t": b"\t", b"r": b"\r"}


def fields(path: Path) -> Fields:
    """The fields of the message in a file. Raises InvalidModel if it is invalid."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
        return _parsed(data.decode(), meter(path))
    except ValueError as error:
        raise InvalidModel(f"{path}: not a protocol buffer as text ({error})") from None


def value_of(message: Fields, name: str) -> str | None:
    """The first value of this name in a message and the messages in it."""
    for own, value in message:
        inner = value if isinstance(value, str) else value_of(value, name)
        if inner is not None and (own == name or not isinstance(value, str)):
            return inner
    return None


def _parsed(text: str, meter: Meter) -> Fields:
    open_messages: list[Fields] = [[]]
    name, at = "", 0
    is_value = in_list = False
    while at < len(text):
        meter.spend(2)
        token = TOKEN.match(text, at)
        if token is None:
            raise ValueError(f"line {text.count(chr(10), 0, at) + 1}")
        at, mark, word = token.end(), token["mark"], token["text"] or token["word"]
        if word and is_value:
            open_messages[-1].append((name, _value(word)))
        elif word:
            name = word
        elif mark in ("{", "<"):
            inner: Fields = []
            open_messages[-1].append((name, inner))
            open_messages.append(inner)
            if len(open_messages) > MAX_DEPTH:
                raise ValueError(f"messages are nested deeper than {MAX_DEPTH}")
        elif mark in ("}", ">"):
            open_messages.pop()
            if not open_messages:
                raise ValueError("a message ends that did not begin")
        in_list = mark == "[" or (in_list and mark != "]")
        is_value = mark == ":" or in_list
    if len(open_messages) > 1:
        raise ValueError("a message does not end")
    return open_messages[0]


def _value(word: str) -> str:
    if word[0] not in "\"'":
        return word
    return ESCAPE.sub(_unescaped, word[1:-1].encode()).decode()


def _unescaped(found: re.Match[bytes]) -> bytes:
    code = found[1]
    if code[:1].isdigit():
        return bytes([int(code, 8) & 255])
    return bytes([int(code[1:], 16)]) if code[:1] == b"x" and code[1:] else ESCAPED.get(code, code)
