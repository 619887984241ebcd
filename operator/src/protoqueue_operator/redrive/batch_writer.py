"""Stores redriven tasks together with a checkpoint of their Redrive, then deletes the letters."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from protoqueue.protocol.dead_letters import Shape
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import GroupName
from protoqueue_operator.jetstream.atomic_batch import Message, store
from protoqueue_operator.redrive import checkpoints
from protoqueue_operator.redrive.checkpoint import MOST_RUNS, Checkpoint
from protoqueue_operator.redrive.checkpoints import Place
from protoqueue_operator.redrive.letters import DeadLetter, put_back
from protoqueue_operator.redrive.plan import MOST_AT_ONCE
from protoqueue_operator.redrive.seals import seal_key

_LEAST_TASKS = 3
"""If a queue accepts fewer, a checkpoint would leave no room for a task.

Then only message ids show what was moved, as long as the stream remembers them.
"""

_GROUPS_AGAIN_S = 5.0

_ROOMY_BYTES = 64 * 1024
"""A checkpoint of as many runs as letters has at most a third of it."""


class BatchWriter:
    """The writer of one Redrive. Every method raises BrokerUnavailable and BrokerRefused."""

    def __init__(self, place: Place, redrive: str, subject: str, monotonic: Callable[[], float]) -> None:
        """`redrive` is its uid, `subject` that of the letters it reads."""
        self._place = place
        self._redrive = redrive
        self._subject = subject
        self._monotonic = monotonic
        spec = place.spec
        partitions = spec.ordering.partitions if spec.ordering else 0
        self._shape = Shape(spec.effective_priority_levels, partitions, spec.lanes)
        most = place.spec.limits.max_tasks
        self.is_marked = most is None or most >= _LEAST_TASKS
        """Whether checkpoints are stored."""
        self.most_runs = _most_runs(place)
        """Letters that lie apart from each other in one batch."""
        self._expected = 0
        """Sequence of the stored checkpoint; 0 if there is none."""
        self._elsewhere: list[str] = []
        """Streams that hold an older one."""
        self._keys: dict[str, bytes] = {}
        self._groups: dict[str, tuple[str, float]] = {}

    async def open(self) -> list[Checkpoint]:
        """The stored checkpoint."""
        found = await checkpoints.find(self._place, self._redrive)
        for each in found:
            if each.stream == self._place.layout.stream:
                self._expected = each.sequence
            else:
                self._elsewhere.append(each.stream)
        return [each.checkpoint for each in found]

    async def prepare(self, letters: Sequence[DeadLetter]) -> None:
        """Build the messages that put the letters back, for those that can be."""
        keys = {group: await self._key(group) for group in await self._existing(letters)}
        for dead in letters:
            if dead.message is None and (key := keys.get(dead.letter.group)):
                dead.message = put_back(dead, self._place.queue.name, self._shape, key)

    async def _existing(self, letters: Sequence[DeadLetter]) -> list[str]:
        return [group for group in {dead.letter.group for dead in letters} if not await self._why_not(group)]

    async def commit(self, batch: Sequence[DeadLetter], before: Checkpoint) -> Checkpoint:
        """Store the tasks, delete the letters; returns the new checkpoint. Raises NotStored too."""
        reasons = {group: await self._why_not(group) for group in {dead.letter.group for dead in batch}}
        moved = [dead for dead in batch if not reasons[dead.letter.group]]
        await self.prepare(moved)
        failure = next(filter(None, reasons.values()), "")
        after = _advanced(before, batch[-1], moved, len(batch) - len(moved), failure)
        await self._store([dead.message for dead in moved if dead.message], after)
        await self._clean_up(after)
        return after

    async def pass_over(self, dead: DeadLetter, before: Checkpoint, failure: str) -> Checkpoint:
        """Record a letter that cannot be put back, or (no `failure`) that others have put back.

        Raises NotStored too.
        """
        after = _advanced(before, dead, () if failure else (dead,), 1 if failure else 0, failure)
        await self._store([], after)
        await self._clean_up(after)
        return after

    async def _store(self, messages: list[Message], checkpoint: Checkpoint) -> None:
        if self.is_marked:
            headers = {Header.EXPECTED_SEQUENCE: str(self._expected), Header.TTL: "never"}
            subject = self._place.queue.name.checkpoint(self._redrive)
            messages = [*messages, Message(subject, checkpoint.encode(), headers)]
        if messages:
            sequence = await store(self._place.broker.jetstream, messages)
            self._expected = sequence if self.is_marked else 0

    async def _clean_up(self, checkpoint: Checkpoint) -> None:
        """Delete the letters that are tasks again, and the checkpoints before this one."""
        name, jetstream = self._place.queue.name, self._place.broker.jetstream
        subject = name.checkpoint(self._redrive)
        elsewhere, self._elsewhere = self._elsewhere, []
        if checkpoint.leaves_letters:
            deletion = jetstream.delete_messages(name.dead_letter_stream, checkpoint.letters)
        else:
            deletion = jetstream.purge(name.dead_letter_stream, self._subject, checkpoint.position + 1)
        await asyncio.gather(
            deletion,
            *([jetstream.purge(self._place.layout.stream, subject, self._expected)] if self.is_marked else []),
            *(jetstream.purge(stream, subject) for stream in elsewhere),
        )

    async def _key(self, group: str) -> bytes:
        if group not in self._keys:
            self._keys[group] = await seal_key(self._place.broker, GroupName(self._place.queue.name, group))
        return self._keys[group]

    async def _why_not(self, group: str) -> str:
        """Why letters of this group cannot be put back; empty if they can."""
        why, asked_at = self._groups.get(group, ("", -_GROUPS_AGAIN_S))
        if self._monotonic() - asked_at >= _GROUPS_AGAIN_S:
            why = ""
            if not await self._exists(group):
                why = f"the ConsumerGroup {group} does not exist: create it again, or delete its dead letters"
            self._groups[group] = why, self._monotonic()
        return why

    async def _exists(self, group: str) -> bool:
        """In a work queue any group takes them; in a Broadcast queue only that group would."""
        with suppress(ValueError):
            name = GroupName.parse(self._place.queue.name, group)
            if self._place.spec.delivery != "Broadcast":
                return True
            return await self._place.broker.configs.get(name.config_key) is not None
        return False


def _most_runs(place: Place) -> int:
    """Where tasks may have any size, so may a checkpoint."""
    limits = place.spec.limits
    is_roomy = place.broker.jetstream.connection.max_payload >= _ROOMY_BYTES
    return MOST_AT_ONCE if is_roomy and limits.max_task_size is None and limits.max_bytes is None else MOST_RUNS


def _advanced(
    before: Checkpoint, last: DeadLetter, moved: Sequence[DeadLetter], failed: int, failure: str
) -> Checkpoint:
    return replace(
        before,
        position=last.letter.sequence,
        moved=before.moved + len(moved),
        failed=before.failed + failed,
        failure=before.failure or failure,
        letters=tuple(dead.letter.sequence for dead in moved),
        leaves_letters=before.leaves_letters or failed > 0 or last.follows_others,
    )
