"""The actions from the observed to the desired state; equal states need none.

Creating and updating are different requests, and neither is sent unnecessarily: a clustered no-op update has side
effects (nats-server#5526).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from protoqueue_operator.api.v1alpha1.errors import ImmutableField
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.jetstream.assets import Consumer, Owner, Stream
from protoqueue_operator.jetstream.ownership import refuse_earlier_namespace, refuse_foreign


@dataclass(frozen=True)
class CreateStream:
    stream: Stream


@dataclass(frozen=True)
class UpdateStream:
    stream: Stream


@dataclass(frozen=True)
class DeleteStream:
    name: str


@dataclass(frozen=True)
class CreateConsumer:
    consumer: Consumer


@dataclass(frozen=True)
class UpdateConsumer:
    consumer: Consumer


@dataclass(frozen=True)
class PauseConsumer:
    """Pause, or resume where `consumer.paused` is False."""

    consumer: Consumer


@dataclass(frozen=True)
class DeleteConsumer:
    stream: str
    name: str


Action = CreateStream | UpdateStream | DeleteStream | CreateConsumer | UpdateConsumer | PauseConsumer | DeleteConsumer


def plan_stream(desired: Stream, observed: Stream | None, *, adopts: str = "") -> list[Action]:
    """Raises ForeignAsset and ImmutableField.

    `adopts`: the uid of an earlier namespace of which a Queue's streams are taken over too.

    A stream whose owner had the same kind, namespace and name is taken over: that is how a Queue that was deleted with
    the policy Retain, and created again, gets its tasks back.
    """
    if observed is None:
        return [CreateStream(desired)]
    refuse_foreign(desired.owner, observed.owner, f"stream {desired.name}")
    refuse_earlier_namespace(desired.namespace_uid, observed, adopts)
    if desired.storage != observed.storage:
        raise ImmutableField(
            f"the stream is kept in {observed.storage} storage, which cannot be changed: "
            "create a queue with another name and move the tasks there",
            field="spec.storage",
        )
    if desired.retention != observed.retention:
        raise ImmutableField(
            f"the stream has {observed.retention} retention, which cannot be changed: "
            "create a queue with another name and move the tasks there",
            field="spec.delivery",
        )
    return [] if desired == observed else [UpdateStream(desired)]


def other_shape(desired: str, observed: str) -> tuple[str, str] | None:
    """Which field contradicts a kept stream, and the stream's value; None if all its tasks will be consumed.

    A stream that does not state its shape is accepted.
    """
    (desired, _, new_lanes), (observed, _, old_lanes) = desired.partition(",lanes="), observed.partition(",lanes=")
    (wants, _, new), (has, _, old) = desired.partition("="), observed.partition("=")
    if not old.isdigit():
        return None
    if wants == has and (new == old or (wants == "levels" and int(new) > int(old))):
        fits = int(new_lanes or 0) >= int(old_lanes if old_lanes.isdigit() else 0)
        return None if fits else ("spec.fairness", f"a fair queue of {old_lanes} lanes")
    made_for = f"an ordered queue of {old} partitions" if has == "partitions" else f"a queue of {old} priority levels"
    if wants != has:
        return "spec.ordering", made_for
    return ("spec.priorityLevels" if wants == "levels" else "spec.ordering.partitions"), made_for


def plan_consumers(
    desired: Iterable[Consumer], observed: Iterable[Consumer], owner: Owner, living_groups: Collection[Key]
) -> list[Action]:
    """Consumers of one group on its stream. Raises ForeignAsset.

    Leftovers of deleted groups are removed first, since they would hold the tasks; consumers that the operator did not
    create are left alone.
    """
    wanted = {consumer.name: consumer for consumer in desired}
    there = {consumer.name: consumer for consumer in observed}
    plan: list[Action] = [
        DeleteConsumer(consumer.stream, consumer.name)
        for consumer in there.values()
        if consumer.name not in wanted and _is_leftover(consumer, owner, living_groups)
    ]
    for consumer in wanted.values():
        plan += plan_consumer(consumer, there.get(consumer.name))
    return plan


def plan_consumer(desired: Consumer, observed: Consumer | None) -> list[Action]:
    """Raises ForeignAsset."""
    if observed is None:
        return [CreateConsumer(desired)]
    refuse_foreign(desired.owner, observed.owner, f"consumer {desired.name} of stream {desired.stream}")
    plan: list[Action] = []
    if not desired.same_configuration(observed):
        plan.append(UpdateConsumer(desired))
    if desired.paused != observed.paused:
        plan.append(PauseConsumer(desired))
    return plan


def plan_group_removal(owner: Owner, observed: Iterable[Consumer]) -> list[Action]:
    """Delete the group's consumers; unacknowledged tasks stay in the queue."""
    return [
        DeleteConsumer(consumer.stream, consumer.name)
        for consumer in observed
        if consumer.owner and consumer.owner.key == owner.key
    ]


def described(action: Action) -> str:
    """A description of the action, for logs and Events."""
    match action:
        case CreateStream(stream) | UpdateStream(stream):
            what = stream.name
        case CreateConsumer(consumer) | UpdateConsumer(consumer) | PauseConsumer(consumer):
            what = f"{consumer.stream}/{consumer.name}"
        case DeleteConsumer(stream_name, name):
            what = f"{stream_name}/{name}"
        case DeleteStream(name):
            what = name
    return f"{type(action).__name__} {what}"


def _is_leftover(consumer: Consumer, owner: Owner, living_groups: Collection[Key]) -> bool:
    if consumer.owner is None or consumer.owner.kind != owner.kind or consumer.owner.namespace != owner.namespace:
        return False
    return consumer.owner.key == owner.key or consumer.owner.key not in living_groups
