"""Which namespace an object is in: one that is deleted and made again under its name is another one."""

from dataclasses import dataclass
from datetime import datetime

from protoqueue_operator.api.v1alpha1.meta import Meta
from protoqueue_operator.runtime.client import Kubernetes


@dataclass(frozen=True)
class _Known:
    uid: str
    created: datetime
    """When the object was created on behalf of which it was asked for: older ones that are there are in it too."""
    asked_for: str
    """That object's uid: another one may have been created in the same second, and in the next namespace."""

    def holds(self, meta: Meta) -> bool:
        return meta.created < self.created or meta.uid == self.asked_for


class Namespaces:
    """Asks for a namespace once, and again when an object is met that is newer than the answer."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes
        self._known: dict[str, _Known] = {}

    async def uid_of(self, meta: Meta) -> str:
        """Of the namespace that the object is in. Raises ApiError, Gone."""
        name = meta.namespace
        known = self._known.get(name)
        if known is None or not known.holds(meta):
            known = self._known[name] = _Known(await self._kubernetes.namespace_uid(name), meta.created, meta.uid)
        return known.uid
