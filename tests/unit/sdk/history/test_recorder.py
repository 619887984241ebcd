"""Records on their way to the stream: in batches, in order, and never in the way of the work."""

import asyncio
from collections.abc import Sequence

import pytest

from protoqueue.errors import PayloadTooLarge, Unavailable
from protoqueue.history import recorder as module
from protoqueue.history.recorder import Recorder
from protoqueue.testing.memory import MemoryBroker
from waiting import eventually


class Stream(MemoryBroker):
    """Takes what is published together as one batch, once it is `open`."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()
        self.batches: list[list[bytes]] = []
        self.errors: list[Exception] = []

    async def publish_many(self, messages: Sequence[tuple[str, bytes]], timeout_s: float) -> None:
        await self.open.wait()
        if self.errors:
            raise self.errors.pop(0)
        self.batches.append([data for _, data in messages])

    @property
    def stored(self) -> list[bytes]:
        return [data for batch in self.batches for data in batch]


def record(number: int, size: int = 0) -> tuple[str, bytes]:
    return "pqhist.a.b.done.x", b"%d" % number + b" " * size


async def test_what_ends_while_a_batch_is_on_its_way_is_sent_together_and_in_order() -> None:
    stream = Stream()
    recorder = Recorder(stream)
    recorder.add(record(0))
    await eventually(lambda: stream.batches)
    stream.open.clear()
    for number in range(1, 500):
        recorder.add(record(number))
    stream.open.set()
    await recorder.close()
    assert stream.batches == [[b"0"], [b"%d" % number for number in range(1, 500)]]
    assert (recorder.written, recorder.dropped, len(recorder)) == (500, 0, 0)


async def test_a_batch_has_no_more_records_and_bytes_than_a_publish_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TOGETHER", 10)
    monkeypatch.setattr(module, "MOST_BYTES_TOGETHER", 1000)
    stream = Stream()
    recorder = Recorder(stream)
    for number in range(25):
        recorder.add(record(number))
    for number in range(3):
        recorder.add(record(number, 800))
    await recorder.close(60)
    assert [len(batch) for batch in stream.batches] == [10, 10, 6, 1, 1]


async def test_what_nats_does_not_take_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0.01)
    stream = Stream()
    stream.errors = [Unavailable("away"), Unavailable("away")]
    recorder = Recorder(stream)
    for number in range(3):
        recorder.add(record(number))
    await recorder.close(60)
    assert stream.stored == [b"0", b"1", b"2"]
    assert recorder.dropped == 0


async def test_while_nats_is_slow_the_oldest_are_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Stream()
    stream.open.clear()
    recorder = Recorder(stream)
    monkeypatch.setattr(module, "MOST_BYTES", 100 * (1000 + module._PER_RECORD))
    for number in range(1000):
        recorder.add(record(number, 1000 - len(str(number))))
        if number == 50:
            await asyncio.sleep(0.01)  # these are under way when the others come
    assert len(recorder) == 100
    assert recorder.dropped == 900
    stream.open.set()
    await recorder.close(60)
    assert int(stream.stored[-1]) == 999
    last = [int(data) for data in stream.stored[-100:]]
    assert last == list(range(900, 1000))
    assert sum("dropped" in line.message for line in caplog.records) == 1


async def test_one_that_nats_refuses_for_its_size_does_not_hold_up_the_others() -> None:
    stream = Stream()
    recorder = Recorder(stream)
    recorder.add(record(0, stream.max_payload))
    stream.errors = [PayloadTooLarge("too large for the stream")]
    recorder.add(record(1))
    await eventually(lambda: recorder.dropped == 2)
    recorder.add(record(2))
    await recorder.close(60)
    assert stream.stored == [b"2"]


async def test_what_is_not_stored_by_the_end_is_counted() -> None:
    stream = Stream()
    stream.open.clear()
    recorder = Recorder(stream)
    recorder.add(record(0))
    await recorder.close(0.01)
    assert (recorder.dropped, len(recorder)) == (1, 0)
    recorder.add(record(1))  # as a worker that is served again does
    stream.open.set()
    await recorder.close(60)
    assert stream.stored == [b"1"]


async def test_a_queue_that_keeps_no_history_any_more_forgets_what_waits() -> None:
    stream = Stream()
    stream.open.clear()
    recorder = Recorder(stream)
    recorder.add(record(0))
    recorder.clear()
    await recorder.close(60)
    assert (stream.stored, recorder.dropped) == ([], 0)
