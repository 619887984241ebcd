"""Which of the watches' news sends the operator to look at an object."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest

from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.jetstream.broker import Broker
from protoqueue_operator.manager import Manager
from protoqueue_operator.nats.credentials import Credentials
from protoqueue_operator.runtime.client import Kubernetes
from protoqueue_operator.settings import Settings
from unit.operator.samples import group_body, queue_body


class Added(list[Key]):
    """In the place of the work queue: what was to be looked at, in order, and which of it can wait."""

    def __init__(self) -> None:
        super().__init__()
        self.retries_forever: list[Key] = []

    def add(self, key: Key, within_s: float = 0.0) -> None:
        self.append(key)
        if within_s:
            self.retries_forever.append(key)


@pytest.fixture
def manager() -> Manager:
    def no_login() -> NoReturn:
        raise AssertionError("nothing is to be asked of Kubernetes")

    settings = Settings(Credentials(("nats://127.0.0.1:1",)), "nats://127.0.0.1:1")
    manager = Manager(settings, Kubernetes(no_login), lambda: None)
    manager._wiring.controller.work = Added()  # type: ignore[assignment]
    return manager


async def test_a_change_is_looked_at_though_the_answer_to_our_own_write_brought_it_first(manager: Manager) -> None:
    manager.watch_events.object_seen("Queue", None, queue_body(generation=1, resourceVersion="10"))
    manager.watch_events.object_seen("ConsumerGroup", None, group_body(generation=1, resourceVersion="11"))
    added: Any = manager._wiring.controller.work
    added.clear()
    # The user edits; a status write comes after that, and its answer before the watch's news of the edit.
    manager.watch_events._caches.queues.observe(queue_body(generation=2, resourceVersion="14"))
    manager.watch_events._caches.groups.observe(group_body(generation=2, resourceVersion="15"))
    manager.watch_events.object_seen("Queue", "MODIFIED", queue_body(generation=2, resourceVersion="12"))
    manager.watch_events.object_seen("ConsumerGroup", "MODIFIED", group_body(generation=2, resourceVersion="13"))
    assert added == [Key("Queue", "default", "email"), Key("ConsumerGroup", "default", "mailers")]


async def test_a_change_of_the_status_alone_is_not_looked_at(manager: Manager) -> None:
    manager.watch_events.object_seen("Queue", None, queue_body(generation=1, resourceVersion="10"))
    manager.watch_events.object_seen("Queue", "MODIFIED", queue_body(generation=1, resourceVersion="11"))
    assert manager._wiring.controller.work == [Key("Queue", "default", "email")]


async def test_a_group_that_was_seen_before_its_queue_is_looked_at_again(manager: Manager) -> None:
    manager.watch_events.object_seen("ConsumerGroup", None, group_body())
    manager.watch_events.object_seen("Queue", None, queue_body())
    email, mailers = Key("Queue", "default", "email"), Key("ConsumerGroup", "default", "mailers")
    assert manager._wiring.controller.work == [mailers, email, mailers]


async def test_queues_whose_dead_letters_go_to_one_that_changes_are_looked_at_again(manager: Manager) -> None:
    for name, other in (("email", "email-dlq"), ("email-dlq", "last"), ("last", "email"), ("apart", None)):
        reference = {"deadLetter": {"queueRef": {"name": other}}} if other else {}
        manager.watch_events.object_seen("Queue", None, queue_body(reference, name=name))
    added: Any = manager._wiring.controller.work
    for event, generation in (("MODIFIED", 2), ("DELETED", 2)):
        added.clear()
        body = queue_body({}, name="last", generation=generation, resourceVersion=str(10 + generation))
        manager.watch_events.object_seen("Queue", event, body)
        assert {key.name for key in added} == {"last", "email-dlq", "email"}
        assert len(added) == 3, "each once, also where they name each other in a circle"


async def test_after_a_start_what_was_edited_meanwhile_does_not_wait_behind_what_is_ready(manager: Manager) -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True", "reason": "Reconciled", "observedGeneration": 1}]}
    manager.watch_events.object_seen("Queue", None, queue_body(name="same") | {"status": ready})
    manager.watch_events.object_seen("Queue", None, queue_body(name="edited", generation=2) | {"status": ready})
    manager.watch_events.object_seen("Queue", None, queue_body(name="new"))
    manager.watch_events.object_seen("Queue", None, queue_body(name="going", deletionTimestamp="2026-01-01T00:00:01Z"))
    added: Any = manager._wiring.controller.work
    assert len(added) == 4
    assert added.retries_forever == [Key("Queue", "default", "same")]


async def test_a_task_that_is_to_go_on_for_ever_and_has_ended_is_trouble(manager: Manager) -> None:
    """Nobody awaits it: without its comparing, a watch that hangs would be noticed by nobody."""
    manager._brokers = cast("Any", SimpleNamespace())
    started = manager._comparing = asyncio.create_task(asyncio.Event().wait(), name="watches")  # type: ignore[assignment]
    await asyncio.sleep(0)
    assert manager.trouble() is None
    started.cancel()
    await asyncio.wait([started])
    assert manager.trouble() == "the task 'watches' has ended"


async def test_only_the_operators_own_nats_can_make_it_look_stuck(manager: Manager) -> None:
    """Any tenant's Secret may name a NATS that keeps its sampler waiting: that must restart nobody's operator."""

    class Stuck:
        sampled_at = time.monotonic() - 100

    own = Broker(*[cast("Any", None)] * 3)
    manager._brokers = cast("Any", SimpleNamespace(own=own))
    manager._samplers = cast("Any", {Broker(*[cast("Any", None)] * 3): (Stuck, None)})
    assert manager.trouble() is None
    assert manager.stalled_for_s() > 60, "the metric speaks of all"
    manager._samplers = cast("Any", {own: (Stuck, None)})
    assert manager.trouble() == "no backlog was sampled for 100 s"
