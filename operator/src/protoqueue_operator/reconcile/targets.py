"""Sees to it that no two groups size one object in turns."""

from protoqueue_operator.core.refusals import ScaleTargetTaken
from protoqueue_operator.core.resources import Group, parse_group
from protoqueue_operator.core.targets import Target, comes_before, named_target
from protoqueue_operator.reconcile.runtime import Runtime


def taken_by_another(group: Group, runtime: Runtime) -> ScaleTargetTaken | None:
    """Why the group may not size what it names; None where it may, or names nothing."""
    target = named_target(group)
    sizer = runtime.cache.sizer_of(target) if target else None
    return _taken(target, sizer) if target and sizer and sizer.meta.key != group.meta.key else None


async def refuse_taken_target(group: Group, runtime: Runtime) -> None:
    """Raises ScaleTargetTaken where nothing is known of the other yet, as after a start, and ApiError.

    The status remembers that there was another. A size written until the watch brings that one would end its workers.
    """
    target, condition = named_target(group), group.status.condition("Ready")
    state = runtime.state_of(group.meta.key, group.meta.uid)
    if target is None or state.established or condition is None or condition.reason != ScaleTargetTaken.reason:
        return
    if taken_by_another(group, runtime):  # that is known, and scaling goes by it
        return
    async for page in runtime.kubernetes.pages("ConsumerGroup", group.meta.namespace, ""):
        for other in map(parse_group, page["items"]):
            if other.meta.key != group.meta.key and comes_before(other, group, target):
                raise _taken(target, other)


def _taken(target: Target, sizer: Group) -> ScaleTargetTaken:
    return ScaleTargetTaken(
        f"{target} is sized by the ConsumerGroup {sizer.meta.name} already: name another one here, or there",
        field="spec.worker.scaleTargetRef",
    )
