"""What happens in JetStream when a ConsumerGroup is deleted."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from protoqueue_operator.api.v1alpha1.errors import BrokerRefused, BrokerUnavailable, InvalidSpec, Refusal
from protoqueue_operator.api.v1alpha1.labels import FINALIZER
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group, Queue
from protoqueue_operator.autoscaling.state import GroupStates
from protoqueue_operator.jetstream.apply import apply_plan
from protoqueue_operator.jetstream.assets import Consumer, Owner
from protoqueue_operator.jetstream.broker import Broker, Homes
from protoqueue_operator.jetstream.contents import contents, is_anothers, own_streams
from protoqueue_operator.jetstream.desired import queue_stream_names
from protoqueue_operator.jetstream.diff import plan_group_removal
from protoqueue_operator.runtime.deletion import Deletion, how_to_abandon
from protoqueue_operator.runtime.namespaces import Namespaces
from protoqueue_operator.runtime.workqueue import Requeue

TOGETHER_S = 3.0
"""A Queue deleted within this time of its group was deleted together with it. Deletion times are whole seconds."""

_LOOK_TOGETHER_S = 0.5


class GroupDeletion:
    """Removes consumers and configuration; unacknowledged tasks stay in the queue."""

    def __init__(
        self,
        queues: Mapping[Key, Queue],
        states: GroupStates,
        homes: Homes,
        namespaces: Namespaces,
        deletion: Deletion,
    ) -> None:
        self._queues = queues
        self._states = states
        self._homes = homes
        self._namespaces = namespaces
        self._deletion = deletion

    async def delete(self, group: Group, apply: Callable[[Group], Awaitable[object]]) -> Requeue | None:
        """`apply` applies the group's specification. Raises ApiError."""
        if FINALIZER not in group.meta.finalizers:
            return None
        queue = self._queues.get(group.queue_key)
        if group.meta.is_abandoned:
            await self._deletion.abandon(group)
            return None
        # It never had a queue, so nothing was created; or another cluster's group owns what was.
        if not group.queue_name or self._homes.is_taken_over(group.queue_key):
            await self._deletion.finish(group)
            return None
        try:
            broker = await self._homes.broker_of(group.queue_key)
            if await self._works_for_another(group, queue, broker):
                message = f"the stream {group.name.queue.stream} belongs to another Queue: its consumers were left"
                self._deletion.leave_behind(group, message)
                await self._deletion.finish(group)
                return None
            if queue and (waits := await self._drain(group, queue, broker, apply)):
                return waits
            await broker.configs.purge(group.name.config_key)
            listed = await asyncio.gather(*map(broker.jetstream.consumers, queue_stream_names(group.name.queue)))
            observed = [Consumer.observed(info) for infos in listed for info in infos or ()]
            plan = plan_group_removal(Owner.of(group.meta), observed)
            await apply_plan(broker.jetstream, plan, {})
        except (BrokerUnavailable, BrokerRefused) as error:
            if not await self._deletion.gives_up_waiting(group):
                message = f"cannot remove the consumers: {error}; {how_to_abandon(group)}"
                return self._deletion.wait(group, error.reason, message)
            message = f"the consumers and the entry in pq-config were left behind: {error}"
            self._deletion.leave_behind(group, message)
        await self._deletion.finish(group)
        return None

    async def _works_for_another(self, group: Group, queue: Queue | None, broker: Broker) -> bool:
        """Whether the queue's stream belongs to another namespace or cluster, and so do consumers of the group's name.

        Raises BrokerUnavailable, BrokerRefused and ApiError.
        """
        owner = Owner("Queue", group.meta.namespace, group.queue_name, "")
        uid = await self._namespaces.uid_of(group.meta)
        adopts = queue.meta.adopts if queue else ""
        return await is_anothers(group.name.queue.stream, owner, uid, adopts, broker.jetstream)

    async def _drain(
        self, group: Group, queue: Queue, broker: Broker, apply: Callable[[Group], Awaitable[object]]
    ) -> Requeue | None:
        """Whether the group has to stay: a user who deletes a queue with its group wants its tasks done, not stuck.

        The group's deletion may be seen a moment before the queue's. Raises BrokerUnavailable, BrokerRefused and
        ApiError.
        """
        if isinstance(queue.spec, InvalidSpec) or queue.spec.deletion_policy != "DeleteIfEmpty":
            return None
        is_leaving = queue.meta.deleting_since is not None
        if not is_leaving and self._deletion.deleting_for_s(group) > TOGETHER_S:
            return None
        queue = replace(queue, namespace_uid=await self._namespaces.uid_of(queue.meta))
        streams = await own_streams(queue, broker.jetstream)
        left = contents(queue, {name: info for name, info in streams.items() if name != queue.name.dead_letter_stream})
        if not left or await self._deletion.gives_up_waiting(group):
            return None
        if not is_leaving:
            return Requeue(_LOOK_TOGETHER_S)
        if self._states.of(group).last_applied is None:  # the operator has been restarted
            with suppress(Refusal):
                await apply(group)
        message = (
            f"the Queue {group.queue_name} is being deleted with deletionPolicy DeleteIfEmpty and still holds {left}: "
            "the group goes on until they are done. To end it now, remove them (protoqueue purge), or set the Queue's "
            "spec.deletionPolicy to Delete or Retain"
        )
        return self._deletion.wait(group, "Draining", message)
