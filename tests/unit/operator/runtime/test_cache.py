from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.caches import Caches
from unit.operator.samples import group_body, queue_body

EMAIL = Key("Queue", "default", "email")


def test_an_older_version_that_comes_late_changes_nothing() -> None:
    caches = Caches()
    caches.queues.observe(queue_body(resourceVersion="12", generation=2))
    assert caches.queues.observe(queue_body(resourceVersion="11", generation=1)).meta.generation == 2
    assert caches.queues[EMAIL].meta.generation == 2


def test_a_new_object_of_the_same_name_replaces_the_old_one() -> None:
    caches = Caches()
    caches.queues.observe(queue_body(resourceVersion="12"))
    caches.queues.observe(queue_body(resourceVersion="11", uid="another"))
    assert caches.queues[EMAIL].meta.uid == "another"
    caches.queues.remove(EMAIL, "uid-of-email")
    assert EMAIL in caches.queues


def test_an_answer_that_comes_after_the_end_brings_nothing_back() -> None:
    caches, mailers = Caches(), Key("ConsumerGroup", "default", "mailers")
    caches.groups.observe(group_body(resourceVersion="12"))
    caches.groups.observe_answer(mailers, group_body(resourceVersion="13", generation=2))
    assert caches.groups[mailers].meta.generation == 2
    caches.groups.remove(mailers, "uid-of-mailers")
    caches.groups.observe_answer(mailers, group_body(resourceVersion="14"))
    assert not caches.groups_of.get(EMAIL)
    caches.groups.observe(group_body(resourceVersion="20", uid="another"))
    caches.groups.observe_answer(mailers, group_body(resourceVersion="14"))
    assert caches.groups[mailers].meta.uid == "another"


def test_the_spec_is_parsed_once_per_generation() -> None:
    caches = Caches()
    first = caches.queues.observe(queue_body(resourceVersion="12"))
    second = caches.queues.observe(queue_body(resourceVersion="13"))
    third = caches.queues.observe(queue_body({"paused": True}, resourceVersion="14", generation=2))
    assert second.spec is first.spec
    assert third.spec != first.spec


def test_the_groups_of_a_queue_come_oldest_first() -> None:
    caches = Caches()
    caches.groups.observe(group_body(name="b", creationTimestamp="2026-01-01T00:00:00Z"))
    caches.groups.observe(group_body(name="c", creationTimestamp="2025-01-01T00:00:00Z"))
    caches.groups.observe(group_body(name="a", creationTimestamp="2026-01-01T00:00:00Z"))
    assert [group.meta.name for group in caches.groups_of.get(EMAIL)] == ["c", "a", "b"]
    caches.groups.remove(Key("ConsumerGroup", "default", "c"), "uid-of-c")
    assert [group.meta.name for group in caches.groups_of.get(EMAIL)] == ["a", "b"]


def test_of_what_is_gone_nothing_is_kept() -> None:
    caches = Caches()
    for number in range(5):
        caches.groups.observe(group_body({"queueRef": {"name": f"q{number}"}}, name=f"g{number}"))
        caches.groups.remove(Key("ConsumerGroup", "default", f"g{number}"), f"uid-of-g{number}")
    assert not caches.groups_of
