"""Which of the watches' news sends the operator to look at an object."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest

from protoqueue_operator.adapters.kubernetes import Kubernetes
from protoqueue_operator.core.credentials import Credentials
from protoqueue_operator.core.resources import Key
from protoqueue_operator.reconcile.brokers import Broker
from protoqueue_operator.reconcile.operation import Operation
from protoqueue_operator.reconcile.runtime import Settings
from unit.operator.samples import group_body, queue_body


class Added(list[Key]):
    """In the place of the work queue: what was to be looked at, in order, and which of it can wait."""

    def __init__(self) -> None:
        super().__init__()
        self.patient: list[Key] = []

    def add(self, key: Key, patience_s: float = 0.0) -> None:
        self.append(key)
        if patience_s:
            self.patient.append(key)


@pytest.fixture
def operation() -> Operation:
    def no_login() -> NoReturn:
        raise AssertionError("nothing is to be asked of Kubernetes")

    settings = Settings(Credentials(("nats://127.0.0.1:1",)), "nats://127.0.0.1:1")
    operation = Operation(settings, Kubernetes(no_login), lambda: None)
    operation._dispatcher.work = Added()  # type: ignore[assignment]
    return operation


async def test_a_change_is_looked_at_though_the_answer_to_our_own_write_brought_it_first(operation: Operation) -> None:
    operation.object_seen("Queue", None, queue_body(generation=1, resourceVersion="10"))
    operation.object_seen("ConsumerGroup", None, group_body(generation=1, resourceVersion="11"))
    added: Any = operation._dispatcher.work
    added.clear()
    # The user edits; a status write comes after that, and its answer before the watch's news of the edit.
    operation._cache.observe_queue(queue_body(generation=2, resourceVersion="14"))
    operation._cache.observe_group(group_body(generation=2, resourceVersion="15"))
    operation.object_seen("Queue", "MODIFIED", queue_body(generation=2, resourceVersion="12"))
    operation.object_seen("ConsumerGroup", "MODIFIED", group_body(generation=2, resourceVersion="13"))
    assert added == [Key("Queue", "default", "email"), Key("ConsumerGroup", "default", "mailers")]


async def test_a_change_of_the_status_alone_is_not_looked_at(operation: Operation) -> None:
    operation.object_seen("Queue", None, queue_body(generation=1, resourceVersion="10"))
    operation.object_seen("Queue", "MODIFIED", queue_body(generation=1, resourceVersion="11"))
    assert operation._dispatcher.work == [Key("Queue", "default", "email")]


async def test_a_group_that_was_seen_before_its_queue_is_looked_at_again(operation: Operation) -> None:
    operation.object_seen("ConsumerGroup", None, group_body())
    operation.object_seen("Queue", None, queue_body())
    email, mailers = Key("Queue", "default", "email"), Key("ConsumerGroup", "default", "mailers")
    assert operation._dispatcher.work == [mailers, email, mailers]


async def test_after_a_start_what_was_edited_meanwhile_does_not_wait_behind_what_is_ready(operation: Operation) -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True", "reason": "Reconciled", "observedGeneration": 1}]}
    operation.object_seen("Queue", None, queue_body(name="same") | {"status": ready})
    operation.object_seen("Queue", None, queue_body(name="edited", generation=2) | {"status": ready})
    operation.object_seen("Queue", None, queue_body(name="new"))
    operation.object_seen("Queue", None, queue_body(name="going", deletionTimestamp="2026-01-01T00:00:01Z"))
    added: Any = operation._dispatcher.work
    assert len(added) == 4
    assert added.patient == [Key("Queue", "default", "same")]


async def test_a_task_that_is_to_go_on_for_ever_and_has_ended_is_trouble(operation: Operation) -> None:
    """Nobody awaits it: without its comparing, a watch that hangs would be noticed by nobody."""
    operation._brokers = cast("Any", SimpleNamespace())
    started = operation._comparing = asyncio.create_task(asyncio.Event().wait(), name="watches")  # type: ignore[assignment]
    await asyncio.sleep(0)
    assert operation.trouble() is None
    started.cancel()
    await asyncio.wait([started])
    assert operation.trouble() == "the task 'watches' has ended"


async def test_only_the_operators_own_nats_can_make_it_look_stuck(operation: Operation) -> None:
    """Any tenant's Secret may name a NATS that keeps its sampler waiting: that must restart nobody's operator."""

    class Stuck:
        sampled_at = time.monotonic() - 100

    own = Broker(*[cast("Any", None)] * 3)
    operation._brokers = cast("Any", SimpleNamespace(own=own))
    operation._samplers = cast("Any", {Broker(*[cast("Any", None)] * 3): (Stuck, None)})
    assert operation.trouble() is None
    assert operation.stalled_for_s() > 60, "the metric speaks of all"
    operation._samplers = cast("Any", {own: (Stuck, None)})
    assert operation.trouble() == "no backlog was sampled for 100 s"
