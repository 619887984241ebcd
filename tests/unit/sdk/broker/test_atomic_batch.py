"""Members of an atomic batch in the bytes of NATS' protocol."""

import pytest

from protoqueue.broker import Message
from protoqueue.broker.commands import encode_members


def test_a_member_is_a_publish_with_its_headers_and_its_place_in_the_batch() -> None:
    [chunk] = encode_members([(2, Message("pq.a.b.task.0", b"data", {"Nats-Msg-Id": "7"}))], "b1")
    headers = b"NATS/1.0\r\nNats-Msg-Id: 7\r\nNats-Batch-Id: b1\r\nNats-Batch-Sequence: 2\r\n\r\n"
    total = len(headers) + len(b"data")
    assert chunk == b"HPUB pq.a.b.task.0 %d %d\r\n" % (len(headers), total) + headers + b"data\r\n"


def test_lengths_count_bytes_rather_than_characters() -> None:
    [chunk] = encode_members([(2, Message("s", b"", {"Nats-Msg-Id": "ü"}))], "b1")
    command, _, rest = chunk.partition(b"\r\n")
    assert command.split()[-1] == str(len(rest) - len(b"\r\n")).encode()


def test_large_members_come_in_chunks_that_hold_all_of_them_in_order() -> None:
    members = [(number, Message("s", bytes(100_000))) for number in range(2, 9)]
    chunks = list(encode_members(members, "b1"))
    assert len(chunks) > 1
    places = [line.split()[-1] for line in b"".join(chunks).split(b"\r\n") if line.startswith(b"Nats-Batch-Sequence")]
    assert places == [str(number).encode() for number in range(2, 9)]


@pytest.mark.parametrize(
    "message",
    [
        Message("s", b"", {"Nats-Msg-Id": "1\r\nNats-Rollup: all"}),
        Message("s", b"", {"Nats-Msg-Id\r\n": "1"}),
        Message("s\r\nPUB other 0", b""),
        Message("s reply", b""),
    ],
)
def test_nothing_in_a_message_can_become_another_line_of_the_protocol(message: Message) -> None:
    with pytest.raises(ValueError, match="line"):
        list(encode_members([(2, message)], "b1"))
