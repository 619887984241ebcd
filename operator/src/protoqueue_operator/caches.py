"""The operator's knowledge of the cluster: resources as last reported by the watches, and the assets they require."""

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
    """The last state from the watches, by kind."""

    def __init__(self) -> None:
        self.queues: Cache[Queue] = Cache(QUEUE, parse_queue)
        self.groups: Cache[Group] = Cache(CONSUMER_GROUP, parse_group)
        self.redrives: Cache[Redrive] = Cache(REDRIVE, parse_redrive)
        self.deployments: Cache[Deployment] = Cache(DEPLOYMENT, lambda body, _: parse_deployment(body))
        self.groups_of: Index[Group, Key] = self.groups.index(lambda group: group.queue_key)
        """The groups that consume each queue."""
        self.senders_to: Index[Queue, Key] = self.queues.index(target_of)
        """The queues whose dead letters become tasks of each queue."""
        self.redrives_of: Index[Redrive, Key] = self.redrives.index(lambda redrive: redrive.queue_key)
        """The Redrives of each queue's dead letters."""

    def resources(self) -> dict[str, Cache[Any]]:
        """The resources that get a status and Events from the operator."""
        return {QUEUE.name: self.queues, CONSUMER_GROUP.name: self.groups, REDRIVE.name: self.redrives}

    def __len__(self) -> int:
        return len(self.queues) + len(self.groups) + len(self.redrives) + len(self.deployments)


@dataclass(frozen=True)
class DesiredAssets:
    """The desired assets of each queue, as far as known."""

    queue_states: QueueStates
    group_states: GroupStates
    groups_of: Index[Group, Key]

    def streams(self, queue: Key) -> Iterable[Stream]:
        return self.queue_states.streams.get(queue, ())

    def layout(self, queue: Key) -> Layout | None:
        """Which of them hold its tasks."""
        return self.queue_states.layouts.get(queue)

    def consumers(self, queue: Key) -> Iterable[Consumer]:
        for group in self.groups_of.get(queue):
            state = self.group_states.of(group)
            if state.last_applied and not state.is_refused:  # otherwise there is nothing to repair
                yield from state.last_applied.consumers
