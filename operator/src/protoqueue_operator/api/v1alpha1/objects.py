"""Resources as the reconcilers see them: parsed once from what the API server sends, and trusted from there on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from protoqueue.naming import GroupName, QueueName
from protoqueue_operator.core.consumer_group import ConsumerGroupSpec, ConsumerGroupStatus
from protoqueue_operator.core.fields import LabelName, Model
from protoqueue_operator.core.queue import QueueSpec, QueueStatus
from protoqueue_operator.core.refusals import InvalidSpec

FINALIZER = "protoqueue.dev/operator"

M = TypeVar("M", bound=Model)

_LABEL: TypeAdapter[str] = TypeAdapter(LabelName)


@dataclass(frozen=True, order=True)
class Key:
    """Which object: what the work queue, the caches and the locks go by."""

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

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def namespace(self) -> str:
        return self.key.namespace


@dataclass(frozen=True)
class Queue:
    meta: Meta
    spec: QueueSpec | InvalidSpec
    status: QueueStatus

    @property
    def name(self) -> QueueName:
        return QueueName(self.meta.namespace, self.meta.name)


@dataclass(frozen=True)
class Group:
    """A ConsumerGroup. `queue_name` is known even where the rest of the specification is invalid; else it is empty."""

    meta: Meta
    spec: ConsumerGroupSpec | InvalidSpec
    status: ConsumerGroupStatus
    queue_name: str

    @property
    def name(self) -> GroupName:
        return GroupName(QueueName(self.meta.namespace, self.queue_name), self.meta.name)

    @property
    def queue_key(self) -> Key:
        return Key("Queue", self.meta.namespace, self.queue_name)


def parse_queue(body: Mapping[str, Any], known: Queue | None = None) -> Queue:
    """Read a Queue; the spec of `known` is taken over where the generation is the same. Raises nothing."""
    meta = parse_meta(body, "Queue")
    spec = known.spec if known and _same_generation(known.meta, meta) else _parse_spec(QueueSpec, body)
    return Queue(meta, spec, _parse_status(QueueStatus, body))


def parse_group(body: Mapping[str, Any], known: Group | None = None) -> Group:
    """Read a ConsumerGroup; the spec of `known` is taken over where the generation is the same. Raises nothing."""
    meta = parse_meta(body, "ConsumerGroup")
    spec = known.spec if known and _same_generation(known.meta, meta) else _parse_spec(ConsumerGroupSpec, body)
    return Group(meta, spec, _parse_status(ConsumerGroupStatus, body), _queue_name(body))


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
    )


def is_older(version: str, than: str) -> bool:
    """Whether a resourceVersion is an earlier one; unknown forms count as newer, so that nothing is held back."""
    return version.isdigit() and than.isdigit() and int(version) < int(than)


def _same_generation(old: Meta, new: Meta) -> bool:
    return (old.uid, old.generation) == (new.uid, new.generation)


def _parse_spec(model: type[M], body: Mapping[str, Any]) -> M | InvalidSpec:
    try:
        return model.model_validate(body.get("spec", {}))
    except ValidationError as error:
        first = error.errors()[0]
        path = "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        return InvalidSpec(first["msg"].removeprefix("Value error, "), field=path)


def _queue_name(body: Mapping[str, Any]) -> str:
    try:
        return _LABEL.validate_python(body["spec"]["queueRef"]["name"])
    except (KeyError, TypeError, ValidationError):
        return ""


def _parse_status(model: type[M], body: Mapping[str, Any]) -> M:
    """The status as last written; what cannot be read (another version's, or a hand's) is written anew."""
    try:
        return model.model_validate(body.get("status") or {})
    except ValidationError:
        return model()
