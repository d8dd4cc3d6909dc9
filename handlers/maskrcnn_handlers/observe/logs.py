"""The log, for people or for programs: lines of text, or one JSON object a line."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import sys
import threading
import time
from datetime import datetime, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Any

from maskrcnn_handlers.observe import request_ids
from maskrcnn_handlers.observe.exchange import Exchange
from maskrcnn_server.errors import redacted

if TYPE_CHECKING:
    from maskrcnn_server.settings import Settings

TEXT = "%(asctime)s %(levelname)s %(message)s"
MAX_WAITING_LINES = 10_000
"""Number of lines that wait to be written at most."""
FLUSH_S = 1.0
"""Seconds in which what waits is written at the end."""

logger = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON, with what is known of the request, if it is of one."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, timezone.utc)
        line: dict[str, object] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redacted(record.getMessage()),
        }
        if request_id := request_ids.current():
            line["request_id"] = request_id
        exchange = getattr(record, "exchange", None)
        if isinstance(exchange, Exchange):
            line |= exchange.fields()
        if record.exc_info:
            line["exception"] = redacted(self.formatException(record.exc_info))
        return json.dumps(line)


class TextFormatter(logging.Formatter):
    """Formats a record as one line of text; the lines of a traceback are indented.

    What came from a client can therefore not look like a line of its own. Secrets of addresses are
    left out.
    """

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging names it)
        message = super().formatMessage(record)
        if message.isprintable():
            return message
        return "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode()
            for char in message
        )

    def formatException(self, ei: Any) -> str:  # noqa: N802 (logging names it)
        return "    " + "\n    ".join(super().formatException(ei).splitlines())


class UnblockedHandler(logging.Handler):
    """Writes lines to a descriptor in a thread of its own: a pipe that nobody reads blocks nobody.

    Lines that find no room among those that wait are lost; the next one says how many.
    """

    def __init__(self, descriptor: int, max_waiting: int = MAX_WAITING_LINES) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines: queue.Queue[bytes] = queue.Queue(max_waiting)
        self._lost = 0
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._lost and not self._lines.full():
                lost, self._lost = self._lost, 0
                told = {"msg": f"{lost} lines of the log were lost", "levelname": "WARNING"}
                self._put(logging.makeLogRecord({"name": __name__, **told}))
            self._put(record)
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait a second, at most, until all lines are written."""
        deadline = time.monotonic() + FLUSH_S
        while self._lines.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.005)

    def _put(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record).encode(errors="backslashreplace") + b"\n")
        except queue.Full:
            self._lost += 1

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            # A descriptor that is closed has no reader; the lines are lost.
            with contextlib.suppress(OSError):
                while line:
                    line = line[os.write(self._descriptor, line) :]
            self._lines.task_done()


def set_up(settings: Settings) -> None:
    """Have this process log as much as the settings say, and in their format."""
    root = logging.getLogger()
    root.setLevel(settings.log_level.upper())
    # It warns of each malformed form; the reply and our own line say so already.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    formatter = JsonFormatter() if settings.log_format == "json" else TextFormatter(TEXT)
    for handler in root.handlers[:]:
        if type(handler) is logging.StreamHandler:
            root.removeHandler(handler)
            unblocked = UnblockedHandler(handler.stream.fileno())
            unblocked.setFormatter(formatter)
            root.addHandler(unblocked)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


def _uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    logger.critical("uncaught exception", exc_info=(kind, error, traceback))
