"""What the watches last said, by key, and which group belongs to which queue."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, TypeVar

from protoqueue_operator.core.deployment import Deployment, parse_deployment
from protoqueue_operator.core.resources import Group, Key, Queue, is_older, parse_group, parse_queue

V = TypeVar("V", Queue, Group)


class Cache:
    """Never goes back: of two versions of one object the newer stays, whichever arrives first."""

    def __init__(self) -> None:
        self.queues: dict[Key, Queue] = {}
        self.groups: dict[Key, Group] = {}
        self.deployments: dict[Key, Deployment] = {}
        self._groups_of: defaultdict[Key, set[Key]] = defaultdict(set)

    def observe_queue(self, body: Mapping[str, Any]) -> Queue:
        """Take in a version; returns the newest known."""
        key = Key("Queue", body["metadata"]["namespace"], body["metadata"]["name"])
        known = self.queues.get(key)
        if known and _is_stale(body, known):
            return known
        queue = self.queues[key] = parse_queue(body, known)
        return queue

    def observe_group(self, body: Mapping[str, Any]) -> Group:
        """Take in a version; returns the newest known."""
        key = Key("ConsumerGroup", body["metadata"]["namespace"], body["metadata"]["name"])
        known = self.groups.get(key)
        if known and _is_stale(body, known):
            return known
        group = self.groups[key] = parse_group(body, known)
        if known and known.queue_key != group.queue_key:
            self._part(known)
        self._groups_of[group.queue_key].add(key)
        return group

    def observe_answer(self, key: Key, body: Mapping[str, Any]) -> None:
        """Take in what a write of our own to a Queue or ConsumerGroup was answered with.

        The watch may have seen the object go before the answer arrives. It must not come back then: nobody would tell
        of its end again, and a queue would wait for such a group for ever.
        """
        known = self.get(key)
        if known is None or known.meta.uid != body["metadata"]["uid"]:
            return
        if isinstance(known, Queue):
            self.observe_queue(body)
        else:
            self.observe_group(body)

    def observe_deployment(self, body: Mapping[str, Any]) -> Deployment:
        """Take in a version; returns the newest known."""
        deployment = parse_deployment(body)
        known = self.deployments.get(deployment.key)
        if known and known.uid == deployment.uid and is_older(deployment.resource_version, known.resource_version):
            return known
        self.deployments[deployment.key] = deployment
        return deployment

    def remove(self, key: Key, uid: str) -> None:
        """Forget that very object; one of the same name that came after it stays."""
        if key.kind == "Deployment":
            known_deployment = self.deployments.get(key)
            if known_deployment and known_deployment.uid == uid:
                del self.deployments[key]
            return
        known = self.get(key)
        if known is None or known.meta.uid != uid:
            return
        if isinstance(known, Group):
            del self.groups[key]
            self._part(known)
        else:
            del self.queues[key]

    def _part(self, group: Group) -> None:
        """The group belongs to that queue no more."""
        of_queue = self._groups_of[group.queue_key]
        of_queue.discard(group.meta.key)
        if not of_queue:
            del self._groups_of[group.queue_key]

    def get(self, key: Key) -> Queue | Group | None:
        return self.queues.get(key) if key.kind == "Queue" else self.groups.get(key)

    def __len__(self) -> int:
        return len(self.queues) + len(self.groups) + len(self.deployments)

    def groups_of(self, queue: Key) -> list[Group]:
        """The oldest first; of two made in the same second the one whose name comes first."""
        groups = [self.groups[key] for key in self._groups_of.get(queue, ())]
        return sorted(groups, key=lambda group: (group.meta.created, group.meta.name))


def _is_stale(body: Mapping[str, Any], known: Queue | Group) -> bool:
    meta = body["metadata"]
    return meta["uid"] == known.meta.uid and is_older(meta.get("resourceVersion", ""), known.meta.resource_version)
