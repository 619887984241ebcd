"""Dead letters for the dashboard: grouped, paged or single; redriven, also with another payload, or deleted."""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from protoqueue import DeadLetter, ProtoQueueError
from protoqueue.protocol.names import QueueName
from protoqueue_gateway.service.connection import Connection
from protoqueue_gateway.service.errors import NoSuchDeadLetter
from protoqueue_gateway.service.fresh import Fresh

_MOST_LOOKED_AT = 5000
_GOOD_FOR_S = 2.0
_LONG_AGO = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class LetterFilter:
    """Which letters; None matches any."""

    group: str | None = None
    reason: str | None = None
    type: str | None = None
    error_type: str | None = None

    def matches(self, letter: DeadLetter) -> bool:
        return (
            self.group in (None, letter.group)
            and self.reason in (None, letter.reason)
            and self.type in (None, letter.task.type)
            and self.error_type in (None, letter.error_type)
        )


@dataclass(frozen=True)
class LetterKind:
    """Letters that died of the same. `error` is that of the newest of them, and `example` the id of its task."""

    filter: LetterFilter
    count: int
    error: str
    newest_at: datetime | None
    example: str


@dataclass(frozen=True)
class LetterSummary:
    """The groups of all letters, or of the oldest if there are very many: `looked_at` is how many."""

    kinds: Sequence[LetterKind]
    looked_at: int
    is_whole: bool


class Letters:
    """Every method raises NoSuchQueue, Away and Unavailable."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._summaries = Fresh(self._summarize, _GOOD_FOR_S)

    async def summary(self, queue: QueueName) -> LetterSummary:
        """The most frequent kinds first."""
        return await self._summaries.get(queue)

    async def _summarize(self, queue: QueueName) -> LetterSummary:
        kinds: defaultdict[LetterFilter, list[DeadLetter]] = defaultdict(list)
        looked_at = 0
        async for letter in await self._stored(queue):
            if looked_at == _MOST_LOOKED_AT:
                break
            looked_at += 1
            kinds[LetterFilter(letter.group, letter.reason, letter.task.type, letter.error_type)].append(letter)
        found = [
            LetterKind(each, len(letters), letters[-1].error, letters[-1].failed_at, letters[-1].task.id)
            for each, letters in kinds.items()
        ]
        found.sort(key=lambda kind: (-kind.count, -(kind.newest_at or _LONG_AGO).timestamp()))
        return LetterSummary(found, looked_at, looked_at < _MOST_LOOKED_AT)

    async def page(
        self, queue: QueueName, wanted: LetterFilter, after: int, limit: int
    ) -> tuple[list[DeadLetter], int | None]:
        """Up to `limit` letters of higher sequences, oldest first, and the sequence that the next page follows.

        A page is cut short if very many letters would have to be read for it.
        """
        found: list[DeadLetter] = []
        looked_at = 0
        async for letter in await self._stored(queue, wanted.group, after):
            if len(found) == limit or looked_at == _MOST_LOOKED_AT:
                return found, after
            looked_at, after = looked_at + 1, letter.sequence
            if wanted.matches(letter):
                found.append(letter)
        return found, None

    async def get(self, queue: QueueName, sequence: int) -> DeadLetter:
        """Raises NoSuchDeadLetter."""
        async for letter in await self._stored(queue, after=sequence - 1):
            if letter.sequence == sequence:
                return letter
            break
        raise NoSuchDeadLetter(f"queue {queue} has no dead letter {sequence} any more")

    async def redrive(
        self, queue: QueueName, sequences: Sequence[int], payload: bytes | None = None
    ) -> tuple[int, ProtoQueueError | NoSuchDeadLetter | None]:
        """Put letters back; how many, and what the first of them that is still there failed with."""
        moved = 0
        self._summaries.forget(queue)
        for sequence in sequences:
            try:
                await (await self.get(queue, sequence)).redrive(payload)
            except (ProtoQueueError, NoSuchDeadLetter) as error:
                return moved, error
            moved += 1
        return moved, None

    async def delete(self, queue: QueueName, sequences: Sequence[int]) -> int:
        """How many existed."""
        deleted = 0
        self._summaries.forget(queue)
        for sequence in sequences:
            try:
                deleted += await (await self.get(queue, sequence)).delete()
            except NoSuchDeadLetter:
                continue
        return deleted

    async def delete_all(self, queue: QueueName, wanted: LetterFilter) -> int:
        """Delete those that exist now and match; returns how many."""
        deleted = 0
        self._summaries.forget(queue)
        async for letter in await self._stored(queue, wanted.group):
            if wanted.matches(letter):
                deleted += await letter.delete()
        return deleted

    async def _stored(self, queue: QueueName, group: str | None = None, after: int = 0) -> AsyncIterator[DeadLetter]:
        return (await self._connection.queue(queue)).dead_letters(group=group, after=after)
