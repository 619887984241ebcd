import pytest

from protoqueue.protocol.worker_status import WorkerStatus


def test_an_answer_to_a_roll_call_is_read_as_it_was_meant() -> None:
    presence = WorkerStatus("mailers-7d9f-x2x4q", 3, 10, rate_limited=True, trouble="no room")
    assert WorkerStatus.decode(presence.encode()) == presence


def test_workers_of_another_version_say_less_or_more() -> None:
    assert WorkerStatus.decode(b'{"host": "a", "running": 1}') == WorkerStatus("a", 1)
    odd = b'{"host": "a", "running": 1, "concurrency": "ten", "rate_limited": 1, "trouble": null, "new": {}}'
    assert WorkerStatus.decode(odd) == WorkerStatus("a", 1)


def test_a_long_trouble_is_cut() -> None:
    assert len(WorkerStatus("a", 1, trouble="x" * 5000).encode()) < 1000


@pytest.mark.parametrize("data", [b"", b"3", b"{}", b'{"host": "a", "running": -1}', b'{"host": 7, "running": 1}'])
def test_what_no_worker_answers_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a worker status|Expecting value"):
        WorkerStatus.decode(data)
