import json
import logging

import pytest

from protoqueue.observability.log import JsonFormatter, PrintableFormatter, TextFormatter

FORGED = "1\n2026-01-01T00:00:00.000+00:00 info all is well\x1b[2J"


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_what_others_have_written_into_a_task_makes_no_line_of_its_own(formatter: logging.Formatter) -> None:
    record = logging.makeLogRecord({"msg": "task failed", "levelname": "WARNING", "task": FORGED, "attempt": 2})
    line = formatter.format(record)
    assert line.isprintable()
    assert "attempt" in line


def test_values_that_a_person_can_read_are_written_as_they_are() -> None:
    record = logging.makeLogRecord({"msg": "started", "levelname": "INFO", "queue": "default/email", "name_": "grün"})
    assert TextFormatter().format(record).endswith("info started queue=default/email name_=grün")
    assert json.loads(JsonFormatter().format(record))["name_"] == "grün"


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter(), PrintableFormatter()])
def test_a_line_holds_nothing_that_a_terminal_obeys_and_is_one(formatter: logging.Formatter) -> None:
    record = logging.LogRecord("x", logging.WARNING, "x", 1, "said %s", ("a\x1b[2J\r\nroot: b",), None)
    line = formatter.format(record)
    assert "\x1b" not in line
    assert "\r" not in line
    assert len(line.splitlines()) == 1
