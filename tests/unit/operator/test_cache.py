from protoqueue_operator.core.resources import Key
from protoqueue_operator.reconcile.cache import Cache
from unit.operator.samples import group_body, queue_body

EMAIL = Key("Queue", "default", "email")


def test_an_older_version_that_comes_late_changes_nothing() -> None:
    cache = Cache()
    cache.observe_queue(queue_body(resourceVersion="12", generation=2))
    assert cache.observe_queue(queue_body(resourceVersion="11", generation=1)).meta.generation == 2
    assert cache.queues[EMAIL].meta.generation == 2


def test_a_new_object_of_the_same_name_replaces_the_old_one() -> None:
    cache = Cache()
    cache.observe_queue(queue_body(resourceVersion="12"))
    cache.observe_queue(queue_body(resourceVersion="11", uid="another"))
    assert cache.queues[EMAIL].meta.uid == "another"
    cache.remove(EMAIL, "uid-of-email")
    assert EMAIL in cache.queues


def test_an_answer_that_comes_after_the_end_brings_nothing_back() -> None:
    cache, mailers = Cache(), Key("ConsumerGroup", "default", "mailers")
    cache.observe_group(group_body(resourceVersion="12"))
    cache.observe_answer(mailers, group_body(resourceVersion="13", generation=2))
    assert cache.groups[mailers].meta.generation == 2
    cache.remove(mailers, "uid-of-mailers")
    cache.observe_answer(mailers, group_body(resourceVersion="14"))
    assert not cache.groups_of(EMAIL)
    cache.observe_group(group_body(resourceVersion="20", uid="another"))
    cache.observe_answer(mailers, group_body(resourceVersion="14"))
    assert cache.groups[mailers].meta.uid == "another"


def test_the_spec_is_parsed_once_per_generation() -> None:
    cache = Cache()
    first = cache.observe_queue(queue_body(resourceVersion="12"))
    second = cache.observe_queue(queue_body(resourceVersion="13"))
    third = cache.observe_queue(queue_body({"paused": True}, resourceVersion="14", generation=2))
    assert second.spec is first.spec
    assert third.spec != first.spec


def test_the_groups_of_a_queue_come_oldest_first() -> None:
    cache = Cache()
    cache.observe_group(group_body(name="b", creationTimestamp="2026-01-01T00:00:00Z"))
    cache.observe_group(group_body(name="c", creationTimestamp="2025-01-01T00:00:00Z"))
    cache.observe_group(group_body(name="a", creationTimestamp="2026-01-01T00:00:00Z"))
    assert [group.meta.name for group in cache.groups_of(EMAIL)] == ["c", "a", "b"]
    cache.remove(Key("ConsumerGroup", "default", "c"), "uid-of-c")
    assert [group.meta.name for group in cache.groups_of(EMAIL)] == ["a", "b"]


def test_of_what_is_gone_nothing_is_kept() -> None:
    cache = Cache()
    for number in range(5):
        cache.observe_group(group_body({"queueRef": {"name": f"q{number}"}}, name=f"g{number}"))
        cache.remove(Key("ConsumerGroup", "default", f"g{number}"), f"uid-of-g{number}")
    assert not cache._groups_of
