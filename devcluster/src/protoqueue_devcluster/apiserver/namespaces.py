"""Namespaces: only existing, living ones take new content, and some may not go."""

from typing import Any

from . import statuses
from .kinds import Kind
from .options import WriteOptions
from .registry import Registry
from .statuses import Cause
from .storage import Event, Key

Object = dict[str, Any]
RESOURCE = ("", "namespaces")
FIRST = ("default", "kube-system", "kube-public", "kube-node-lease")
PROTECTED = frozenset({"default", "kube-system", "kube-public"})
SYSTEM = WriteOptions(manager="kube-apiserver")


class Namespaces:
    """Admission of namespaced objects, and what every namespace has from the start."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        registry.admission.append(self._admit)
        registry.store.changed.append(self._written)

    def start(self) -> None:
        """Create what a new cluster holds."""
        kinds = self._registry.kinds
        namespace, service = kinds.find("", "v1", "namespaces"), kinds.find("", "v1", "services")
        if namespace is None or service is None:
            raise RuntimeError("the table of kinds lacks the core group")
        for name in FIRST:
            self._registry.create(namespace, "", {"metadata": {"name": name}}, SYSTEM)
        port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}
        labels = {"component": "apiserver", "provider": "kubernetes"}
        spec = {"clusterIP": "10.96.0.1", "ports": [port]}
        body = {"metadata": {"name": "kubernetes", "labels": labels}, "spec": spec}
        self._registry.create(service, "default", body, SYSTEM)

    def _admit(self, kind: Kind, obj: Object, old: Object | None) -> Object:
        if not kind.namespaced or old is not None:
            return obj
        name = obj["metadata"]["namespace"]
        item = self._registry.store.collection(RESOURCE).get("", name)
        if item is None:
            raise statuses.not_found("", "namespaces", name)
        if item.object["metadata"].get("deletionTimestamp"):
            text = f"unable to create new content in namespace {name} because it is being terminated"
            cause = Cause("NamespaceTerminating", f"namespace {name} is being terminated", "metadata.namespace")
            raise statuses.forbidden(kind.group, kind.plural, obj["metadata"]["name"], text, [cause])
        return obj

    def _written(self, key: Key, event: Event) -> None:
        if key != RESOURCE or event.type != "ADDED":
            return
        kind = self._registry.kinds.find("", "v1", "serviceaccounts")
        if kind is not None:
            name = event.item.object["metadata"]["name"]
            self._registry.create(kind, name, {"metadata": {"name": "default"}}, SYSTEM)


def check_deletable(kind: Kind, name: str) -> None:
    """Raises ApiError 403 for the namespaces a cluster cannot do without."""
    if kind.storage_key == RESOURCE and name in PROTECTED:
        raise statuses.forbidden("", "namespaces", name, "this namespace may not be deleted")
