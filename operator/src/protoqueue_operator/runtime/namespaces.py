"""Which namespace an object is in: one that is recreated under the same name is a different one."""

from dataclasses import dataclass
from datetime import datetime

from protoqueue_operator.api.v1alpha1.meta import Meta
from protoqueue_operator.runtime.client import Kubernetes


@dataclass(frozen=True)
class _Known:
    uid: str
    created: datetime
    """When the object was created for which it was read: existing older objects are in it too."""
    asked_for: str
    """That object's uid: another object may have been created in the same second, in the next namespace."""

    def holds(self, meta: Meta) -> bool:
        return meta.created < self.created or meta.uid == self.asked_for


class Namespaces:
    """Reads a namespace once, and again for an object that is newer than the answer."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes
        self._known: dict[str, _Known] = {}

    async def uid_of(self, meta: Meta) -> str:
        """The uid of the object's namespace. Raises ApiError, Gone."""
        name = meta.namespace
        known = self._known.get(name)
        if known is None or not known.holds(meta):
            known = self._known[name] = _Known(await self._kubernetes.namespace_uid(name), meta.created, meta.uid)
        return known.uid
