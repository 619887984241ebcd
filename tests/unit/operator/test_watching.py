"""Which of the watches' news sends the operator to look at an object."""

from typing import Any, NoReturn

import pytest

from protoqueue_operator.adapters.kubernetes import Kubernetes
from protoqueue_operator.core.credentials import Credentials
from protoqueue_operator.core.resources import Key
from protoqueue_operator.reconcile.operation import Operation
from protoqueue_operator.reconcile.runtime import Settings
from unit.operator.samples import group_body, queue_body


class Added(list[Key]):
    """In the place of the work queue: what was to be looked at, in order."""

    add = list.append


@pytest.fixture
def operation() -> Operation:
    def no_login() -> NoReturn:
        raise AssertionError("nothing is to be asked of Kubernetes")

    settings = Settings(Credentials(("nats://127.0.0.1:1",)), "nats://127.0.0.1:1")
    operation = Operation(settings, Kubernetes(no_login), lambda: None)
    operation._dispatcher.work = Added()  # type: ignore[assignment]
    return operation


async def test_a_change_is_looked_at_though_the_answer_to_our_own_write_brought_it_first(operation: Operation) -> None:
    operation.queue_seen(None, queue_body(generation=1, resourceVersion="10"))
    operation.group_seen(None, group_body(generation=1, resourceVersion="11"))
    added: Any = operation._dispatcher.work
    added.clear()
    # The user edits; a status write comes after that, and its answer before the watch's news of the edit.
    operation._cache.observe_queue(queue_body(generation=2, resourceVersion="14"))
    operation._cache.observe_group(group_body(generation=2, resourceVersion="15"))
    operation.queue_seen("MODIFIED", queue_body(generation=2, resourceVersion="12"))
    operation.group_seen("MODIFIED", group_body(generation=2, resourceVersion="13"))
    assert added == [Key("Queue", "default", "email"), Key("ConsumerGroup", "default", "mailers")]


async def test_a_change_of_the_status_alone_is_not_looked_at(operation: Operation) -> None:
    operation.queue_seen(None, queue_body(generation=1, resourceVersion="10"))
    operation.queue_seen("MODIFIED", queue_body(generation=1, resourceVersion="11"))
    assert operation._dispatcher.work == [Key("Queue", "default", "email")]


async def test_a_group_that_was_seen_before_its_queue_is_looked_at_again(operation: Operation) -> None:
    operation.group_seen(None, group_body())
    operation.queue_seen(None, queue_body())
    email, mailers = Key("Queue", "default", "email"), Key("ConsumerGroup", "default", "mailers")
    assert operation._dispatcher.work == [mailers, email, mailers]
