"""What every object of the Kubernetes API has, whatever its kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from protoqueue_operator.api.v1alpha1.labels import ABANDON_ANNOTATION, ADOPT_ANNOTATION


@dataclass(frozen=True)
class Kind:
    """A kind of object, as the API server serves it."""

    name: str
    api_version: str
    plural: str
    selector: str = ""
    """Label selector of the objects that the operator watches; empty: all."""


@dataclass(frozen=True, order=True)
class Key:
    """Identifies an object: the key of the work queue, the caches and the locks."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Meta:
    """What every object has."""

    key: Key
    uid: str
    generation: int
    resource_version: str
    created: datetime
    deleting_since: datetime | None
    finalizers: tuple[str, ...]
    adopts: str = ""
    """The uid of the earlier namespace of this name whose streams the Queue takes over."""
    is_abandoned: bool = False
    """Whether its assets in NATS are abandoned when it is deleted."""

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def namespace(self) -> str:
        return self.key.namespace


def parse_meta(body: Mapping[str, Any], kind: str) -> Meta:
    meta = body["metadata"]
    deleting = meta.get("deletionTimestamp")
    return Meta(
        key=Key(kind, meta["namespace"], meta["name"]),
        uid=meta["uid"],
        generation=meta.get("generation", 0),
        resource_version=meta.get("resourceVersion", ""),
        created=datetime.fromisoformat(meta["creationTimestamp"]),
        deleting_since=datetime.fromisoformat(deleting) if deleting else None,
        finalizers=tuple(meta.get("finalizers", ())),
        adopts=(meta.get("annotations") or {}).get(ADOPT_ANNOTATION, ""),
        is_abandoned=(meta.get("annotations") or {}).get(ABANDON_ANNOTATION) == "true",
    )


def is_older(version: str, than: str) -> bool:
    """Whether a resourceVersion is older; unknown formats count as newer, so that no update is lost."""
    return version.isdigit() and than.isdigit() and int(version) < int(than)
