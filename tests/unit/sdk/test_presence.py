import pytest

from protoqueue.presence import Presence


def test_an_answer_to_a_roll_call_is_read_as_it_was_meant() -> None:
    presence = Presence("mailers-7d9f-x2x4q", 3)
    assert Presence.decode(presence.encode()) == presence


@pytest.mark.parametrize("data", [b"", b"3", b"{}", b'{"host": "a", "running": -1}', b'{"host": 7, "running": 1}'])
def test_what_no_worker_answers_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"roll call|Expecting value"):
        Presence.decode(data)
