"""What happens to JetStream's streams when a Queue is deleted."""

from dataclasses import replace

from protoqueue_operator.api.v1alpha1.errors import BrokerRefused, BrokerUnavailable, InvalidSpec
from protoqueue_operator.api.v1alpha1.labels import FINALIZER
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group, Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream.assets import Owner, Stream
from protoqueue_operator.jetstream.broker import Homes
from protoqueue_operator.jetstream.client import JetStream
from protoqueue_operator.jetstream.contents import contents, is_anothers, own_streams
from protoqueue_operator.jetstream.desired import queue_streams
from protoqueue_operator.jetstream.kv import finished_tasks, samples_of
from protoqueue_operator.jetstream.layout import layout_of
from protoqueue_operator.queue import removal
from protoqueue_operator.queue.schedule_writer import remove_schedules
from protoqueue_operator.runtime.cache import Index
from protoqueue_operator.runtime.deletion import Deletion, how_to_abandon
from protoqueue_operator.runtime.namespaces import Namespaces
from protoqueue_operator.runtime.workqueue import Requeue


class QueueDeletion:
    """Waits for the groups, then applies `deletionPolicy`."""

    def __init__(self, groups_of: Index[Group, Key], homes: Homes, namespaces: Namespaces, deletion: Deletion) -> None:
        self._groups_of = groups_of
        self._homes = homes
        self._namespaces = namespaces
        self._deletion = deletion

    async def delete(self, queue: Queue) -> Requeue | None:
        """Raises ApiError."""
        if FINALIZER not in queue.meta.finalizers:
            return None
        if queue.meta.is_abandoned:
            await self._deletion.abandon(queue)
            return None
        queue = replace(queue, namespace_uid=await self._namespaces.uid_of(queue.meta))
        if groups := self._groups_of.get(queue.meta.key):
            return self._deletion.wait(queue, "WaitingForGroups", _waiting_for(groups))
        if self._homes.is_taken_over(queue.meta.key):
            message = f"the streams belong to another {queue.meta.key}, as of another cluster, and were left"
            self._deletion.leave_behind(queue, message)
            await self._deletion.finish(queue)
            return None
        # A queue that was never valid has created nothing to delete.
        policy = "Retain" if isinstance(queue.spec, InvalidSpec) else queue.spec.deletion_policy
        try:
            left = await self._dispose(queue, policy)
        except (BrokerUnavailable, BrokerRefused) as error:
            if policy != "Retain" and not await self._deletion.gives_up_waiting(queue):
                message = f"cannot delete the streams: {error}; {how_to_abandon(queue)}"
                return self._deletion.wait(queue, error.reason, message)
            left = ""
            message = f"the streams and the entry in pq-config were left behind: {error}"
            self._deletion.leave_behind(queue, message)
        if left and not await self._deletion.gives_up_waiting(queue):
            message = (
                f"deletionPolicy is DeleteIfEmpty, and the queue still holds {left}: remove them (protoqueue purge, "
                "protoqueue dead delete), or set spec.deletionPolicy to Delete or Retain"
            )
            return self._deletion.wait(queue, "NotEmpty", message)
        if left:
            message = f"the namespace is being deleted, and the queue still holds {left}: the streams were left"
            self._deletion.leave_behind(queue, message)
        await self._deletion.finish(queue)
        return None

    async def _dispose(self, queue: Queue, policy: str) -> str:
        """Returns what prevents DeleteIfEmpty, in words, or nothing when it is done."""
        broker = await self._homes.broker_of(queue.meta.key)
        streams = await own_streams(queue, broker.jetstream)
        owner = Owner.of(queue.meta)
        if await is_anothers(queue.name.stream, owner, queue.namespace_uid, queue.meta.adopts, broker.jetstream):
            # The other Queue owns the entry, notes and schedules too.
            message = f"the stream {queue.name.stream} belongs to another Queue, and was left"
            self._deletion.leave_behind(queue, message)
            return ""
        if policy == "Retain":
            for name in streams.keys() - {queue.name.dead_letter_stream}:
                await remove_schedules(queue, name, broker.jetstream)
        else:
            if policy == "DeleteIfEmpty":
                what = contents(queue, streams) or await removal.close(queue, streams, broker.jetstream)
                if what:
                    await _reopen(queue, broker.jetstream)
                    return what
            await removal.delete(streams, broker.jetstream)
            # Sequences, and ids and notes that contain them, start again with a queue of the same name.
            await broker.jetstream.purge(*finished_tasks(queue.name))
            await broker.configs.purge(queue.name.freed_key)
        await broker.jetstream.purge(*samples_of(queue.name))
        await broker.configs.purge(queue.name.config_key)
        return ""


def _waiting_for(groups: list[Group]) -> str:
    staying = [group.meta.name for group in groups if group.meta.deleting_since is None]
    names = ", ".join(staying or (group.meta.name for group in groups))
    if staying:
        return f"is still consumed by the ConsumerGroups {names}: delete them too"
    return f"waits for these ConsumerGroups to be deleted: {names}; see their conditions"


async def _reopen(queue: Queue, jetstream: JetStream) -> None:
    """Whoever empties the queue needs its subjects. Raises BrokerUnavailable and BrokerRefused."""
    assert isinstance(queue.spec, QueueSpec)
    streams = await own_streams(queue, jetstream)
    there = {name: Stream.observed(info["config"]) for name, info in streams.items()}
    layout = layout_of(queue.name, there)
    desired = queue_streams(queue, queue.spec, there, sourced=layout is not None and layout.sourced)
    await removal.reopen(desired, streams, jetstream)
