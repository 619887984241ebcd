"""Log lines as structured key-values: for people as `message key=value`, for machines as one JSON object a line."""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from protoqueue.errors import ConfigurationError
from protoqueue.observability.tracebacks import traceback_of
from protoqueue.protocol.names import GroupName
from protoqueue.task import Task

RUNNING: ContextVar[tuple[GroupName, Task] | None] = ContextVar("protoqueue_running", default=None)
"""The attempt a handler is at, so that whatever is logged within says which it is, in threads too."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What was passed as `extra`, and within a handler the attempt."""
    extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    running = RUNNING.get()
    if running is None:
        return extra
    group, task = running
    return {"queue": str(group.queue), "group": group.name, "task": task.id, "attempt": task.attempt} | extra


def _shown(value: Any) -> str:
    """A value in one line: a task's id may be whatever another producer has written."""
    text = str(value)
    return text if text.isprintable() else repr(text)


def printable(text: str) -> str:
    """The text with everything escaped that is not to be seen but for line breaks and tabs: a terminal obeys some."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode() for each in text
    )


class PrintableFormatter(logging.Formatter):
    """A message is one line, whatever a server or a producer has put into it; a traceback has several."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- logging's name
        return super().formatMessage(record).replace("\n", "\\n")


class _Formatter(logging.Formatter):
    def formatException(self, exc_info: Any) -> str:  # noqa: N802  # logging's name
        return traceback_of(exc_info[1]) if exc_info[1] is not None else super().formatException(exc_info)


class TextFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = "".join(f" {key}={_shown(value)}" for key, value in fields_of(record).items())
        message = record.getMessage().replace("\n", "\\n")
        line = f"{when} {record.levelname.lower()} {message}{fields}"
        return printable(f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line)


class JsonFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure_logging(level: str = "info", form: str = "text") -> None:
    """Log to stderr; raises ConfigurationError for a level or form that does not exist."""
    number = logging.getLevelNamesMapping().get(level.upper())
    formatter = {"text": TextFormatter, "json": JsonFormatter}.get(form)
    if number is None:
        raise ConfigurationError(f"log level {level!r} is not valid: use debug, info, warning or error")
    if formatter is None:
        raise ConfigurationError(
            f"log format {form!r} is not valid (--log-format or PROTOQUEUE_LOG_FORMAT): use text or json"
        )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter())
    logging.basicConfig(level=number, handlers=[handler], force=True)
