"""The configuration that TensorPack's training logged, whatever the log went through.

It is a dictionary as `pprint` prints it, which is read as a literal: nothing is executed.
"""

import ast
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from maskrcnn_network.literals import COMPUTED, flat, value
from maskrcnn_server.errors import InvalidModel
from maskrcnn_server.work import STEP_BYTES, Meter, meter

MAX_LOG_BYTES = 256 << 20
"""Maximum bytes that are read of a log, from its end."""
MAX_UNPACKED_BYTES = 64 << 20
"""Maximum bytes that are read of a log that is compressed, from its beginning."""
MAX_LOGGED_BYTES = 256 << 10
"""Maximum bytes of the configuration in a log, with the lines of other processes."""
MAX_LINE_BYTES = 4 << 10
"""Maximum bytes of the line with which the configuration begins, before that beginning."""
MAX_TRIES = 4
"""Maximum number of beginnings that are looked at, from the last."""
MAX_PREFIX = 80
"""Maximum number of characters that a program adds to each line."""
BLOCK_BYTES = 8 << 20

_BEGINNING = "Config: -----"
_HEADER = re.compile(r"Config: [-\s]{0,400}[^{\n]{0,80}(?=\{)")
_END_OF_LINE = re.compile(r"\r*\n|\r")
_COLOUR = re.compile(r"\x1b\[[0-9;?]{0,20}[A-Za-z]")
_RANK = re.compile(r"^[^\[]{0,40}(\[[^\]\n]{1,80}\])<std\w{2,6}>: ?")
"""What mpirun writes before each line: `[1,0]<stdout>:`, on SageMaker `[1,mpirank:0,algo-1]`, with
the time before it or not; horovodrun writes `[0]<stdout>:`."""
_FOREIGN = re.compile(r"\[?\d{4}[-/ ]\d\d[-/: ]|\[\w* ?\d\d:\d\d|[IWEF]\d{4} |[A-Z]+:")
"""Pattern of the beginning of another program's line inside of the configuration."""
_TEXT = r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\""
_TOKEN = re.compile(rf"{_TEXT}|[{{}}()\[\]]")
_OBJECT = re.compile(rf"({_TEXT})|<[^<>\n]{{1,200}}>")
"""Pattern of a text, or of an object as Python prints it."""


class _Unread(ValueError):
    """A text that has a beginning and an end, and is no literal between."""


def training_log(path: Path) -> tuple[dict[str, Any], str | None]:
    """The configuration that TensorPack's `finalize_configs` logged last, as dotted keys; or a note
    why there is none, or why an earlier one counts.

    Raises InvalidModel if it cannot be read.
    """
    cut = False
    for text in logged(path, _BEGINNING):
        if _HEADER.match(text) is None and "{" in text[:MAX_LINE_BYTES]:
            # Such as in a name of a class.
            continue
        try:
            tree = _dictionary(text)
        except _Unread as error:
            raise InvalidModel(
                f"{path}: its configuration cannot be read ({error}); remove the file, and put the "
                "settings that differ from the framework's defaults into config.yaml"
            ) from None
        if tree is not None:
            note = f"{path.name} breaks off inside its last configuration: the one before counts"
            return dict(flat(tree)), note if cut else None
        cut = True
    reason = "breaks off inside its configuration" if cut else "holds no configuration"
    return {}, f"{path.name} {reason}: defaults are assumed"


def last_logged(path: Path, beginning: str) -> str | None:
    """The newest of `logged`. None: there is none."""
    return next(logged(path, beginning), None)


def logged(path: Path, beginning: str) -> Iterator[str]:
    """The texts of a log from where `beginning` stands, as far as a configuration may reach, the
    last first: without colours, and without what mpirun adds.

    UTF-8, or UTF-16 as PowerShell writes it, also compressed by gzip. Of several processes in one
    log, the one that logged that beginning counts.
    """
    counter = meter(path)
    with path.open("rb") as file:
        log = _unpacked(file) if file.read(2) == b"\x1f\x8b" else file
        log.seek(0)
        order = "utf-16-be" if log.read(2) == b"\xfe\xff" else "utf-16-le"
        patterns = {beginning.encode(encoding): encoding for encoding in ("utf-8", order)}
        for tries, (start, encoding) in enumerate(_occurrences(log, patterns, counter)):
            if tries == MAX_TRIES:
                return
            # A multiple of four bytes, so that both encodings stay in step.
            before = min(start, MAX_LINE_BYTES + start % 2)
            log.seek(start - before)
            data = log.read(before + MAX_LOGGED_BYTES)
            counter.spend(len(data) // 8)
            line = _clean(data[:before].decode(encoding, errors="replace")).rpartition("\n")[2]
            yield _of_one_process(line, _clean(data[before:].decode(encoding, errors="replace")))


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    file.seek(0)
    found = io.BytesIO()
    try:
        with gzip.open(file) as packed:
            while found.tell() < MAX_UNPACKED_BYTES and (data := packed.read1(1 << 16)):
                found.write(data)
    except (EOFError, OSError, zlib.error):
        # What came before the damage is read.
        pass
    return found


def _occurrences(
    log: IO[bytes], patterns: Mapping[bytes, str], counter: Meter
) -> Iterator[tuple[int, str]]:
    """Where any of the patterns stands, and its encoding; the last first."""
    longest = max(map(len, patterns))
    end = log.seek(0, io.SEEK_END)
    lowest = max(0, end - MAX_LOG_BYTES)
    while end > lowest:
        start = max(lowest, end - BLOCK_BYTES)
        log.seek(start)
        data = log.read(end - start + longest - 1)
        counter.spend(len(data) // STEP_BYTES)
        limit = end - start
        while limit > 0:
            place, encoding = max(
                (data.rfind(pattern, 0, limit + len(pattern) - 1), encoding)
                for pattern, encoding in patterns.items()
            )
            if place < 0:
                break
            yield start + place, encoding
            limit = place
        end = start


def _clean(text: str) -> str:
    return _COLOUR.sub("", _END_OF_LINE.sub("\n", text))


def _of_one_process(line: str, text: str) -> str:
    """A text without what mpirun writes before each line, if `line`, before the text, has it."""
    rank = _RANK.match(line)
    if rank is None:
        return text
    own = re.compile(rf"[^\[\n]{{0,40}}{re.escape(rank[1])}<std\w{{2,6}}>: ?")
    first, *others = text.split("\n")
    lines = (own.match(other) for other in others)
    return "\n".join([first, *(found.string[found.end() :] for found in lines if found)])


def _dictionary(text: str) -> dict[str, Any] | None:
    """The dictionary at the beginning of a text; None if it does not end. Raises _Unread."""
    problem = ""
    for repaired in (_without_prefix, _unwrapped, _without_others):
        candidate = repaired(text)
        header = _HEADER.match(candidate)
        literal = _balanced(candidate[header.end() :]) if header else None
        if literal is None:
            continue
        try:
            return _evaluated(literal) or None
        except _Unread as error:
            problem = problem or str(error)
    if problem:
        raise _Unread(problem)
    return None


def _without_prefix(text: str) -> str:
    """A text without what stands before each line as before the first `{`, numbers aside."""
    first, _, rest = text.partition("\n")
    prefix = rest.partition("\n")[0].partition("{")[0]
    if not prefix.strip() or len(prefix) > MAX_PREFIX:
        return text
    pattern = re.sub(r"\d+", r"\\d{1,20}", re.escape(prefix))
    own = re.compile(re.sub(r"(\\ |\\\t|\s)+", r"\\s{1,20}", pattern) + r"(.*)")
    lines = (own.match(line) for line in rest.split("\n"))
    return "\n".join([first, *(found[1] for found in lines if found)])


def _unwrapped(text: str) -> str:
    """A text whose lines were cut at the width of a terminal, in one piece."""
    lines = text.split("\n")
    width = max(len(line) for line in lines)
    return "".join(line if len(line) == width else f"{line}\n" for line in lines)


def _without_others(text: str) -> str:
    """A text without lines that other programs wrote into it."""
    first, *others = text.split("\n")
    return "\n".join([first, *(line for line in others if not _FOREIGN.match(line))])


def _balanced(text: str) -> str | None:
    """A text up to the bracket that closes its first one; None if there is none."""
    depth = 0
    for token in _TOKEN.finditer(text):
        if token[0] in "{([":
            depth += 1
        elif token[0] in "})]":
            depth -= 1
            if depth == 0:
                return text[: token.end()]
    return None


def _evaluated(literal: str) -> dict[str, Any]:
    try:
        written = _OBJECT.sub(lambda found: found[1] or "None", literal)
        tree = value(ast.parse(written, mode="eval").body)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise _Unread(str(error)) from None
    if not isinstance(tree, dict):
        raise _Unread("no dictionary")
    unread = [key for key, found in flat(tree) if found is COMPUTED]
    if unread:
        raise _Unread(f"{', '.join(unread[:6])}: no literal")
    return tree
