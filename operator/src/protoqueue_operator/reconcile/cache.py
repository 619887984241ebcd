"""What the watches last said, by key; which group belongs to which queue, and which sizes what."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, TypeVar

from protoqueue_operator.core.deployment import Deployment, parse_deployment
from protoqueue_operator.core.resources import Group, Key, Queue, is_older, parse_group, parse_queue
from protoqueue_operator.core.targets import Target, named_target, own_target, seniority

By = TypeVar("By", bound=Hashable)


class Cache:
    """Never goes back: of two versions of one object the newer stays, whichever arrives first."""

    def __init__(self) -> None:
        self.queues: dict[Key, Queue] = {}
        self.groups: dict[Key, Group] = {}
        self.deployments: dict[Key, Deployment] = {}
        self._groups_of: _Index[Key] = _Index(lambda group: group.queue_key)
        self._naming: _Index[Target] = _Index(named_target)

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
        self._index(known, group)
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
            self._index(known, None)
        else:
            del self.queues[key]

    def get(self, key: Key) -> Queue | Group | None:
        return self.queues.get(key) if key.kind == "Queue" else self.groups.get(key)

    def __len__(self) -> int:
        return len(self.queues) + len(self.groups) + len(self.deployments)

    def groups_of(self, queue: Key) -> list[Group]:
        """The oldest first."""
        return self._oldest_first(self._groups_of.get(queue))

    def groups_naming(self, target: Target) -> list[Group]:
        """As their `scaleTargetRef`, the oldest first."""
        return self._oldest_first(self._naming.get(target))

    def sizer_of(self, target: Target) -> Group | None:
        """Who has its way where several groups size one object: who has made it, else the oldest that names it."""
        maker = self.groups.get(Key("ConsumerGroup", target.key.namespace, target.key.name))
        if maker and own_target(maker) == target and self._has_made(maker):
            return maker
        return next(iter(self.groups_naming(target)), None)

    def target_of(self, group: Key) -> Target | None:
        """What the group sizes, or would if it were the only one."""
        known = self.groups.get(group)
        if known is None:
            return None
        return named_target(known) or (own_target(known) if self._has_made(known) else None)

    def _has_made(self, group: Group) -> bool:
        deployment = self.deployments.get(own_target(group).key)
        return deployment is not None and deployment.controller_uid == group.meta.uid

    def _index(self, before: Group | None, after: Group | None) -> None:
        self._groups_of.move(before, after)
        self._naming.move(before, after)

    def _oldest_first(self, keys: set[Key]) -> list[Group]:
        return sorted((self.groups[key] for key in keys), key=seniority)


class _Index(Generic[By]):
    """Groups by something that each of them says."""

    def __init__(self, by: Callable[[Group], By | None]) -> None:
        self._by = by
        self._keys: dict[By, set[Key]] = {}

    def move(self, before: Group | None, after: Group | None) -> None:
        """A group came, changed, or went: one of the two may be None."""
        was, now = (self._by(group) if group else None for group in (before, after))
        if before and was is not None and was != now:
            self._keys[was].discard(before.meta.key)
            if not self._keys[was]:
                del self._keys[was]
        if after and now is not None:
            self._keys.setdefault(now, set()).add(after.meta.key)

    def get(self, by: By) -> set[Key]:
        return self._keys.get(by, set())

    def __len__(self) -> int:
        return len(self._keys)


def _is_stale(body: Mapping[str, Any], known: Queue | Group) -> bool:
    meta = body["metadata"]
    return meta["uid"] == known.meta.uid and is_older(meta.get("resourceVersion", ""), known.meta.resource_version)
