"""Resources as the reconcilers see them: parsed once from what the API server sends, and trusted from there on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from protoqueue.protocol.names import GroupName, QueueName
from protoqueue_operator.api.v1alpha1.conditions import Condition
from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec, ConsumerGroupStatus
from protoqueue_operator.api.v1alpha1.errors import InvalidSpec
from protoqueue_operator.api.v1alpha1.fields import LabelName, Model, unknown_fields
from protoqueue_operator.api.v1alpha1.managed_fields import last_writer
from protoqueue_operator.api.v1alpha1.meta import Key, Meta, parse_meta
from protoqueue_operator.api.v1alpha1.queue import QueueSpec, QueueStatus
from protoqueue_operator.api.v1alpha1.redrive import RedriveSpec, RedriveStatus

M = TypeVar("M", bound=Model)

_LABEL: TypeAdapter[str] = TypeAdapter(LabelName)


@dataclass(frozen=True)
class Queue:
    meta: Meta
    spec: QueueSpec | InvalidSpec
    status: QueueStatus
    unknown: tuple[str, ...] = ()
    """Paths of fields that a newer definition has and this version does not know: they have no effect."""
    namespace_uid: str = ""
    """Empty if it was not looked up."""

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
    unknown: tuple[str, ...] = ()
    """As a Queue's."""
    sized_by: str | None = None
    """The manager that wrote `spec.replicas` last."""

    @property
    def name(self) -> GroupName:
        return GroupName(QueueName(self.meta.namespace, self.queue_name), self.meta.name)

    @property
    def queue_key(self) -> Key:
        return Key("Queue", self.meta.namespace, self.queue_name)


@dataclass(frozen=True)
class Redrive:
    meta: Meta
    spec: RedriveSpec | InvalidSpec
    status: RedriveStatus
    queue_name: str
    """Known even where the rest of the specification is invalid; else it is empty."""
    unknown: tuple[str, ...] = ()
    """As a Queue's."""

    @property
    def queue_key(self) -> Key:
        return Key("Queue", self.meta.namespace, self.queue_name)


def parse_queue(body: Mapping[str, Any], known: Queue | None = None) -> Queue:
    """Read a Queue; the spec of `known` is taken over where the generation is the same. Raises nothing."""
    meta = parse_meta(body, "Queue")
    if known and _same_generation(known.meta, meta):
        spec, unknown = known.spec, known.unknown
    else:
        spec, unknown = _parse_spec(QueueSpec, body)
    return Queue(meta, spec, _parse_status(QueueStatus, body), unknown)


def parse_group(body: Mapping[str, Any], known: Group | None = None) -> Group:
    """Read a ConsumerGroup; the spec of `known` is taken over where the generation is the same. Raises nothing."""
    meta = parse_meta(body, "ConsumerGroup")
    if known and _same_generation(known.meta, meta):
        spec, unknown = known.spec, known.unknown
    else:
        spec, unknown = _parse_spec(ConsumerGroupSpec, body)
    sized_by = last_writer(body["metadata"], "spec", "replicas")
    return Group(meta, spec, _parse_status(ConsumerGroupStatus, body), _queue_name(body), unknown, sized_by)


def parse_redrive(body: Mapping[str, Any], known: Redrive | None = None) -> Redrive:
    """Read a Redrive; the spec of `known` is taken over where the generation is the same. Raises nothing."""
    meta = parse_meta(body, "Redrive")
    if known and _same_generation(known.meta, meta):
        spec, unknown = known.spec, known.unknown
    else:
        spec, unknown = _parse_spec(RedriveSpec, body)
    return Redrive(meta, spec, _parse_status(RedriveStatus, body), _queue_name(body), unknown)


def _same_generation(old: Meta, new: Meta) -> bool:
    return (old.uid, old.generation) == (new.uid, new.generation)


def _parse_spec(model: type[M], body: Mapping[str, Any]) -> tuple[M | InvalidSpec, tuple[str, ...]]:
    """With the paths of what it has and the model does not know. Raises nothing, whatever the object holds."""
    spec = body.get("spec", {})
    try:
        parsed = model.model_validate(spec)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        return InvalidSpec(first["msg"].removeprefix("Value error, "), field=path), ()
    except (ArithmeticError, RecursionError, TypeError, ValueError) as error:
        return InvalidSpec(f"cannot be read: {error}", field="spec"), ()
    return parsed, tuple(unknown_fields(model, spec, "spec"))


def _queue_name(body: Mapping[str, Any]) -> str:
    try:
        return _LABEL.validate_python(body["spec"]["queueRef"]["name"])
    except (KeyError, TypeError, ValidationError):
        return ""


def _parse_status(model: type[M], body: Mapping[str, Any]) -> M:
    """The status as last written, as far as it can be read: another version, or a hand, may have written the rest.

    What cannot be read is written anew. Nothing else may be forgotten with it, such as where the tasks are.
    """
    status = body.get("status")
    known = dict(status) if isinstance(status, Mapping) else {}
    known["conditions"] = [each for each in known.get("conditions") or () if _is_condition(each)]
    while True:
        try:
            return model.model_validate(known)
        except ValidationError as error:
            for name in {str(each["loc"][0]) for each in error.errors(include_input=False)}:
                del known[name]
        except (ArithmeticError, RecursionError, TypeError, ValueError):
            return model()


def _is_condition(value: Any) -> bool:
    try:
        Condition.model_validate(value)
    except (ArithmeticError, RecursionError, TypeError, ValueError):
        return False
    return True
