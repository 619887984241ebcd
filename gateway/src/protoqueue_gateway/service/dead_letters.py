"""Dead letters: read and deleted."""

from collections.abc import Sequence

from protoqueue import DeadLetter
from protoqueue.protocol.names import QueueName
from protoqueue_gateway.service.connection import Connection
from protoqueue_gateway.service.errors import NoSuchDeadLetter


class DeadLetters:
    """Every method raises NoSuchQueue, Away and Unavailable."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def page(
        self, queue: QueueName, group: str | None, after: int, limit: int
    ) -> tuple[Sequence[DeadLetter], int | None]:
        """Up to `limit` letters of higher sequences, oldest first, and the sequence that the next page follows."""
        found: list[DeadLetter] = []
        async for letter in (await self._connection.queue(queue)).dead_letters(group=group, after=after):
            if len(found) == limit:
                return found, found[-1].sequence
            found.append(letter)
        return found, None

    async def find(self, queue: QueueName, task_id: str) -> DeadLetter:
        """The newest letter of this task; raises NoSuchDeadLetter."""
        found: DeadLetter | None = None
        async for letter in (await self._connection.queue(queue)).dead_letters():
            if letter.task.id == task_id:
                found = letter
        if found is None:
            raise NoSuchDeadLetter(f"queue {queue} has no dead letter of task {task_id}")
        return found

    async def delete(self, queue: QueueName, task_id: str) -> None:
        """Raises NoSuchDeadLetter."""
        await (await self.find(queue, task_id)).delete()
