"""Headers in the bytes of NATS' protocol."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from protoqueue.broker import Delivery
from protoqueue.broker.headers import RawHeaders, parse_headers, parse_status
from protoqueue.consumer.execute import read_delivery
from protoqueue.protocol.config import GroupSettings
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.task_codec import encode_task
from protoqueue.settlement.attempt_count import NO_PAST
from protoqueue.settlement.firings import Firings
from protoqueue.task import Task
from protoqueue.testing.memory import MemoryBroker

ODD = [
    b"",
    b"A: 1\r\n",
    b"A: 1\r\nB: 2\r\nA: 3\r\n",
    b"A:1\r\nB:\t2 \r\n C : 3\r\n",
    b"A: with: colons\r\nB:\r\n: no name\r\nno colon\r\n",
    b"A B: whitespace\r\nA\x1cB: whitespace too\r\nC: fine\r\n",
    "A: grün\r\nÄ: no name\r\n".encode(),
    b"A: \xff\xfe\r\n\xff: no name\r\nB: 2\r\n",
    b"A: one\nB: of one line\r\n",
    "A: \u00a0kept\u00a0\r\n".encode(),
]


async def as_nats_py_reads(raw: bytes) -> dict[str, str]:
    return await Client()._process_headers(raw) or {}


@pytest.mark.parametrize("lines", ODD)
async def test_headers_are_what_nats_py_makes_of_them(lines: bytes) -> None:
    raw = b"NATS/1.0\r\n" + lines + b"\r\n"
    assert parse_headers(raw) == await as_nats_py_reads(raw)


_LINE = st.tuples(st.text("aA \t:\x1cä", max_size=4), st.sampled_from([":", ": ", ""]), st.text(" xü:\t", max_size=4))


@given(st.lists(_LINE, max_size=5))
async def test_any_headers_are_what_nats_py_makes_of_them(lines: list[tuple[str, str, str]]) -> None:
    raw = b"".join([b"NATS/1.0\r\n", *("".join(line).encode() + b"\r\n" for line in lines), b"\r\n"])
    assert parse_headers(raw) == await as_nats_py_reads(raw)
    for name in ("a", "aA", "A", "A:", ""):
        assert RawHeaders(raw).get(name) == parse_headers(raw).get(name)


def test_headers_are_looked_up_before_and_after_they_are_parsed() -> None:
    headers = RawHeaders(b"NATS/1.0\r\nNats-Msg-Id: Pq-Attempt\r\nPq-Group: g\r\n\r\n")
    for _ in range(2):
        assert headers.get("Pq-Attempt") is None  # it is in the bytes, and no header
        assert headers.get("traceparent", "none") == "none"
        assert headers["Pq-Group"] == headers.get("Pq-Group") == "g"
        assert "Pq-Group" in headers
        assert "Pq-Worker" not in headers
    assert dict(headers) == {"Nats-Msg-Id": "Pq-Attempt", "Pq-Group": "g"}
    assert len(headers) == 2


def test_a_message_without_headers_has_none() -> None:
    assert dict(RawHeaders(b"")) == {}
    assert RawHeaders(b"").get("Pq-Attempt") is None


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"NATS/1.0 404 No Messages", ("404", "No Messages")),
        (b"NATS/1.0 503", ("503", "")),
        (b"NATS/1.0 409 Consumer Deleted\r\nNats-Pending-Messages: 1", ("409", "Consumer Deleted")),
        (b"NATS/1.0\r\nStatus: 404", ("", "")),
        (b"", ("", "")),
    ],
)
def test_a_status_is_in_the_first_line(line: bytes, status: tuple[str, str]) -> None:
    assert parse_status(line + b"\r\n\r\n") == status


async def test_of_a_plain_task_no_header_is_parsed() -> None:
    """It costs as much as all the rest of decoding it."""
    headers = RawHeaders(b"NATS/1.0\r\nNats-Msg-Id: 1\r\n\r\n")
    delivery = Delivery("subject", encode_task("1", b"1"), headers, "reply", 1, 1, 0, 0)
    group = GroupName(QueueName("default", "q"), "g")
    assert isinstance(read_delivery(delivery, GroupSettings(group, ()), NO_PAST), Task)
    assert not await Firings(MemoryBroker(), group).is_repeated(delivery)
    assert "Pq-Attempt" not in headers
    assert headers._parsed is None
    assert "Nats-Msg-Id" in headers
