"""What the operator knows of the cluster: resources as the watches last said, and the assets they call for."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from protoqueue_operator.api.v1alpha1.deployment import Deployment, parse_deployment
from protoqueue_operator.api.v1alpha1.kinds import CONSUMER_GROUP, DEPLOYMENT, QUEUE, REDRIVE
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group, Queue, Redrive, parse_group, parse_queue, parse_redrive
from protoqueue_operator.autoscaling.state import GroupStates
from protoqueue_operator.jetstream.assets import Consumer, Stream
from protoqueue_operator.jetstream.layout import Layout
from protoqueue_operator.queue.dead_letter_rules import target_of
from protoqueue_operator.queue.state import QueueStates
from protoqueue_operator.runtime.cache import Cache, Index


class Caches:
    """What the watches last said, by kind."""

    def __init__(self) -> None:
        self.queues: Cache[Queue] = Cache(QUEUE, parse_queue)
        self.groups: Cache[Group] = Cache(CONSUMER_GROUP, parse_group)
        self.redrives: Cache[Redrive] = Cache(REDRIVE, parse_redrive)
        self.deployments: Cache[Deployment] = Cache(DEPLOYMENT, lambda body, _: parse_deployment(body))
        self.groups_of: Index[Group, Key] = self.groups.index(lambda group: group.queue_key)
        """The groups that consume each queue."""
        self.senders_to: Index[Queue, Key] = self.queues.index(target_of)
        """The queues whose dead letters are to be tasks of each queue."""
        self.redrives_of: Index[Redrive, Key] = self.redrives.index(lambda redrive: redrive.queue_key)
        """The Redrives of each queue's dead letters."""

    def resources(self) -> dict[str, Cache[Any]]:
        """Those with a status and Events of the operator's."""
        return {QUEUE.name: self.queues, CONSUMER_GROUP.name: self.groups, REDRIVE.name: self.redrives}

    def __len__(self) -> int:
        return len(self.queues) + len(self.groups) + len(self.redrives) + len(self.deployments)


@dataclass(frozen=True)
class DesiredAssets:
    """What the assets of each queue are to be, as far as that is known."""

    queue_states: QueueStates
    group_states: GroupStates
    groups_of: Index[Group, Key]

    def streams(self, queue: Key) -> Iterable[Stream]:
        return self.queue_states.streams.get(queue, ())

    def layout(self, queue: Key) -> Layout | None:
        """In which of them its tasks lie."""
        return self.queue_states.layouts.get(queue)

    def consumers(self, queue: Key) -> Iterable[Consumer]:
        for group in self.groups_of.get(queue):
            state = self.group_states.of(group)
            if state.last_applied and not state.is_refused:  # else a look would repair nothing
                yield from state.last_applied.consumers
