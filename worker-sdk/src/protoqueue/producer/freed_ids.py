"""Which dedup ids are free again because their task was cancelled or purged.

JetStream does not forget a message id when its message is removed. Whoever cancels a task records that under a key of
`pq-config` beside the queue's own. Every producer may read it, and does so only if a duplicate's task is gone.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from protoqueue.broker import Broker, WrongRevision
from protoqueue.protocol.buckets import CONFIG_BUCKET
from protoqueue.protocol.config import QueueSettings

_MOST_IDS = 1000
_MARGIN_S = 60.0

Sequences = tuple[int, int]
"""The last sequences of the stream of new tasks and of the one for later: tasks stored up to there are meant."""
_Entry = tuple[int, int, float]
_NONE: _Entry = (0, 0, 0.0)
_Streams = tuple[str, str]
"""The names of these streams. In other streams sequences start again."""


@dataclass(frozen=True)
class Freed:
    """`ids`, by digest: up to which sequences they are free, and when JetStream will have forgotten them anyway.

    `kept` is the same for ids that `all` does not free, as their tasks stayed.
    """

    streams: _Streams
    all: Sequences = (0, 0)
    ids: dict[str, _Entry] = field(default_factory=dict)
    kept: dict[str, _Entry] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes | None, queue: QueueSettings) -> "Freed":
        """An entry of a later version, or of other streams, frees nothing."""
        streams = queue.stream, queue.later_stream
        try:
            read = json.loads(data or b"{}")
            of = tuple(read.get("streams", (queue.name.stream, queue.name.later_stream)))
            same = [before == now for before, now in zip(of, streams, strict=True)]
            ids, kept = (
                {
                    str(key): (int(task) * same[0], int(later) * same[1], float(until))
                    for key, (task, later, until) in read.get(name, {}).items()
                }
                for name in ("ids", "kept")
            )
            task, later = read["all"]
            return cls(streams, (int(task) * same[0], int(later) * same[1]), ids, kept)
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls(streams)

    def encode(self) -> bytes:
        return json.dumps({"streams": self.streams, "all": self.all, "ids": self.ids, "kept": self.kept}).encode()

    def holds(self, dedup_id: str, is_later: bool, sequence: int) -> bool:
        """Whether the task of that id that was stored at `sequence` was cancelled or purged."""
        digest = _digest(dedup_id)
        if sequence <= self.ids.get(digest, _NONE)[is_later]:
            return True
        return self.kept.get(digest, _NONE)[is_later] < sequence <= self.all[is_later]

    def with_ids(self, dedup_ids: Iterable[str], up_to: Sequences, now: float, until: float) -> "Freed":
        """With these ids added and outdated ones removed; if there are too many, the oldest go."""
        ids = {key: freed for key, freed in self.ids.items() if freed[2] > now}
        ids |= {_digest(dedup_id): (*up_to, until) for dedup_id in dedup_ids}
        newest = sorted(ids.items(), key=lambda entry: entry[1][2])[-_MOST_IDS:]
        return replace(self, ids=dict(newest))

    def with_all(self, up_to: Sequences, kept: Mapping[str, Sequences], until: float) -> "Freed":
        """With all ids freed but the `kept` ones; unchanged if these are too many."""
        if len(kept) > _MOST_IDS:
            return self
        entries = {_digest(dedup_id): (*sequences, until) for dedup_id, sequences in kept.items()}
        return replace(self, all=(max(self.all[0], up_to[0]), max(self.all[1], up_to[1])), kept=entries)


async def is_free(
    broker: Broker, queue: QueueSettings, dedup_id: str, sequence: int, timeout_s: float, *, is_later: bool
) -> bool:
    """Whether the task of that `dedup_id` that was stored at `sequence` was cancelled or purged.

    `is_later` says which of the streams that is; if there is only one, which kind of task.
    """
    entry = await broker.read_key(CONFIG_BUCKET, queue.name.freed_key, timeout_s)
    return Freed.parse(entry.value, queue).holds(dedup_id, is_later, sequence)


async def free_ids(broker: Broker, queue: QueueSettings, dedup_ids: Iterable[str], timeout_s: float) -> None:
    """Free these ids: the next task of each is stored."""
    dedup_ids = set(dedup_ids)
    if dedup_ids:
        up_to, now = await last_sequences(broker, queue, timeout_s), broker.now().timestamp()
        until = now + queue.deduplication_window_s + _MARGIN_S
        await _note(broker, queue, lambda freed: freed.with_ids(dedup_ids, up_to, now, until), timeout_s)


async def free_all(
    broker: Broker, queue: QueueSettings, up_to: Sequences, kept: Mapping[str, Sequences], timeout_s: float
) -> None:
    """Free every id used up to there, except `kept` ids up to the sequences stated there."""
    until = broker.now().timestamp() + queue.deduplication_window_s + _MARGIN_S
    await _note(broker, queue, lambda freed: freed.with_all(up_to, kept, until), timeout_s)


async def last_sequences(broker: Broker, queue: QueueSettings, timeout_s: float) -> Sequences:
    task = await broker.stream_state(queue.stream, timeout_s)
    later = await broker.stream_state(queue.later_stream, timeout_s)
    return task.last_sequence if task else 0, later.last_sequence if later else 0


async def _note(broker: Broker, queue: QueueSettings, change: Callable[[Freed], Freed], timeout_s: float) -> None:
    while True:
        entry = await broker.read_key(CONFIG_BUCKET, queue.name.freed_key, timeout_s)
        value = change(Freed.parse(entry.value, queue)).encode()
        try:
            await broker.write_key(CONFIG_BUCKET, queue.name.freed_key, value, entry.number, timeout_s)
        except WrongRevision:
            continue
        return


def _digest(dedup_id: str) -> str:
    return hashlib.sha256(dedup_id.encode()).hexdigest()[:24]
