from typing import Any

import pytest

from protoqueue import ConfigurationError, Retries, Worker
from protoqueue.handlers.retry_rules import NO_RULES, RetryRules


class Declined(Exception):
    pass


class Stolen(Declined):
    pass


@pytest.mark.parametrize(
    ("retry_on", "give_up_on", "error", "is_final"),
    [
        (None, (), Declined(), False),
        (None, (Declined,), Declined(), True),
        (None, Declined, Stolen(), True),
        (None, (Stolen,), Declined(), False),
        ((OSError,), (), TimeoutError(), False),
        ((OSError,), (), ValueError(), True),
        ((OSError,), (TimeoutError,), TimeoutError(), True),
        ((), (), ValueError(), True),
        ((OSError,), (Declined,), ExceptionGroup("", [OSError(), ValueError()]), False),
        ((OSError,), (Declined,), ExceptionGroup("", [OSError(), ExceptionGroup("", [Stolen()])]), True),
    ],
)
def test_which_errors_are_final(retry_on: Any, give_up_on: Any, error: Exception, is_final: bool) -> None:
    assert RetryRules.read("h", None, retry_on, give_up_on).is_final(error) is is_final
    assert not NO_RULES.is_final(error)


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ({"retry_on": ("Timeout",)}, "retry_on of handler .*exception classes"),
        ({"give_up_on": [ValueError]}, "give_up_on of handler .*exception classes"),
        ({"retry_on": (Stolen,), "give_up_on": (Declined,)}, "cannot retry on Stolen: give_up_on"),
        ({"retries": Retries(0)}, "retries of handler .*max_attempts"),
        ({"retries": 3}, "retries of handler .*Retries"),
    ],
)
def test_rules_that_cannot_be_are_refused_when_a_handler_is_registered(rules: dict[str, Any], says: str) -> None:
    worker = Worker("default/email")

    def work(payload: Any) -> None: ...

    def work_on_all(payloads: list[Any]) -> None: ...

    with pytest.raises(ConfigurationError, match=says):
        worker.handler(**rules)(work)
    with pytest.raises(ConfigurationError, match=says):
        worker.batch(**rules)(work_on_all)
