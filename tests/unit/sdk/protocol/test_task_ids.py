"""Task ids."""

from uuid import UUID

from protoqueue.protocol.task_ids import new_task_id, new_task_ids


def test_ids_of_one_batch_are_unique_and_in_the_order_of_its_tasks() -> None:
    ids = new_task_ids(5000)
    assert len(set(ids)) == 5000
    assert ids == sorted(ids)


def test_every_id_is_a_uuid_of_version_7_whether_alone_or_in_a_batch() -> None:
    for text in (new_task_id(), *new_task_ids(3)):
        assert text == UUID(text).hex
        assert UUID(text).version == 7


def test_no_ids_are_made_for_no_tasks() -> None:
    assert new_task_ids(0) == []
