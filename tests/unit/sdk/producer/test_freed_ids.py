"""What is noted of dedup ids that were freed."""

from dataclasses import replace

import pytest

from protoqueue.producer.freed_ids import Freed
from protoqueue.protocol.config import QueueSettings
from protoqueue.protocol.names import QueueName

STREAMS = ("PQ_default_q_NEW", "PQ_default_q")
QUEUE = QueueSettings(QueueName("default", "q"), *STREAMS, "PQ_default_q_DLQ")


def test_an_id_is_free_up_to_the_sequence_at_which_it_was_freed_in_its_own_stream() -> None:
    freed = Freed(STREAMS).with_ids(["a"], (10, 3), now=0, until=60)
    assert freed.holds("a", is_later=False, sequence=10)
    assert not freed.holds("a", is_later=False, sequence=11)
    assert freed.holds("a", is_later=True, sequence=3)
    assert not freed.holds("a", is_later=True, sequence=4)
    assert not freed.holds("b", is_later=False, sequence=1)


def test_a_purge_frees_every_id_up_to_where_it_was_and_never_less_than_before() -> None:
    freed = Freed(STREAMS).with_all((10, 5), {}, until=60).with_all((12, 0), {}, until=60)
    assert freed.holds("any", is_later=False, sequence=12)
    assert freed.holds("any", is_later=True, sequence=5)
    assert not freed.holds("any", is_later=True, sequence=6)


def test_a_purge_frees_no_id_of_a_task_that_stays_until_that_is_cancelled_or_purged_itself() -> None:
    purged = Freed(STREAMS).with_all((12, 12), {"stays": (9, 12)}, until=60)
    assert not purged.holds("stays", is_later=False, sequence=9)
    assert not purged.holds("stays", is_later=True, sequence=12)
    assert purged.holds("stays", is_later=False, sequence=10)
    assert purged.holds("other", is_later=False, sequence=9)
    assert purged.with_ids(["stays"], (13, 13), now=0, until=60).holds("stays", is_later=False, sequence=9)
    assert purged.with_all((13, 13), {}, until=60).holds("stays", is_later=False, sequence=9)


def test_a_purge_that_would_keep_too_many_ids_frees_none() -> None:
    before = Freed(STREAMS).with_all((1, 0), {}, until=60)
    assert before.with_all((9, 0), {str(n): (9, 0) for n in range(2000)}, until=60) == before


def test_what_jetstream_has_forgotten_by_itself_is_not_kept_and_never_more_than_a_thousand_are() -> None:
    freed = Freed(STREAMS).with_ids(["old"], (1, 1), now=0, until=60)
    assert len(freed.with_ids(["new"], (2, 2), now=61, until=121).ids) == 1
    many = freed.with_ids([str(n) for n in range(2000)], (9, 9), now=1, until=99)
    assert len(many.ids) == 1000
    assert not many.holds("old", is_later=False, sequence=1)


def test_it_comes_back_from_its_bytes() -> None:
    freed = Freed(STREAMS).with_ids(["a", "ü"], (10, 3), now=0, until=60).with_all((2, 1), {"b": (2, 1)}, until=60)
    assert Freed.parse(freed.encode(), QUEUE) == freed


@pytest.mark.parametrize(
    "data", [None, b"", b"{}", b"[]", b"\xff", b'{"all": 1, "ids": {}}', b'{"all": [1, 2], "ids": [1]}']
)
def test_what_is_not_understood_frees_nothing(data: bytes | None) -> None:
    assert Freed.parse(data, QUEUE) == Freed(STREAMS)


def test_what_was_freed_in_other_streams_frees_nothing_where_sequences_begin_anew() -> None:
    limited = Freed(STREAMS).with_ids(["a"], (900, 50), now=0, until=60).with_all((800, 40), {}, until=60)
    plain = replace(QUEUE, stream="PQ_default_q")
    moved = Freed.parse(limited.encode(), plain)
    assert not moved.holds("a", is_later=False, sequence=1)
    assert moved.holds("a", is_later=True, sequence=50)
    assert moved.all == (0, 40)


def test_an_entry_without_streams_is_of_those_that_queues_had_first() -> None:
    entry = b'{"all": [7, 5], "ids": {}}'
    assert Freed.parse(entry, QUEUE).all == (0, 0)
    first = replace(QUEUE, stream="PQ_default_q", later_stream="PQ_default_q_LATER")
    assert Freed.parse(entry, first).all == (7, 5)
