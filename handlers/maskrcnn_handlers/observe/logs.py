"""The log, for people or for programs: lines of text, or one JSON object a line."""

import json
import logging
from datetime import datetime, timezone

from maskrcnn_handlers.observe import request_ids
from maskrcnn_handlers.observe.exchange import Exchange
from maskrcnn_server.redaction import redacted
from maskrcnn_server.settings import Settings


class TextFormatter(logging.Formatter):
    """Formats a record as another formatter does, without the secrets of addresses."""

    def __init__(self, other: logging.Formatter) -> None:
        super().__init__()
        self._other = other

    def format(self, record: logging.LogRecord) -> str:
        return redacted(self._other.format(record))


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


def set_up(settings: Settings) -> None:
    """Have this process log as much as the settings say, and in their format."""
    root = logging.getLogger()
    root.setLevel(settings.log_level.upper())
    # It warns of each malformed form; the reply and our own line say so already.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    for handler in root.handlers:
        text = TextFormatter(handler.formatter or logging.Formatter())
        handler.setFormatter(JsonFormatter() if settings.log_format == "json" else text)
