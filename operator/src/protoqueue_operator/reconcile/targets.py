"""The object that `scaleTargetRef` names: what size it has, and that no two groups size it in turns."""

import logging

from protoqueue_operator.adapters.kubernetes import ApiError
from protoqueue_operator.core.consumer_group import ConsumerGroupSpec, ScaleTarget
from protoqueue_operator.core.refusals import ScaleTargetTaken
from protoqueue_operator.core.resources import Group, parse_group
from protoqueue_operator.core.targets import Target, comes_before, named_target
from protoqueue_operator.reconcile.runtime import GroupState, Runtime, ScaleSeen

logger = logging.getLogger(__name__)


async def look_at_target(group: Group, spec: ConsumerGroupSpec, state: GroupState, runtime: Runtime) -> None:
    """Know its scale, by asking where that has not been done: from then on the rounds do. Raises nothing."""
    target = spec.worker.scale_target_ref if spec.worker else None
    if target is None:
        state.scale = None
    elif state.scale is None or state.scale.target != target:
        state.scale = await _read(group, target, runtime)


async def ask_again(group: Group, seen: ScaleSeen, runtime: Runtime) -> ScaleSeen:
    """Its scale as it is now; where nobody answers, as it was. Raises nothing."""
    now = await _read(group, seen.target, runtime)
    return now if now.is_answer else seen


async def _read(group: Group, target: ScaleTarget, runtime: Runtime) -> ScaleSeen:
    try:
        answer = await runtime.kubernetes.scale(target.api_version, target.kind, group.meta.namespace, target.name)
    except ApiError as error:
        if error.is_refusal:
            return ScaleSeen(target, trouble=f"{target.kind} {target.name} cannot be read: {error}")
        logger.warning("scale not read: object=%s error=%s; it will be tried again", group.meta.key, error)
        return ScaleSeen(target)
    status = answer.get("status") or {}
    return ScaleSeen(
        target,
        replicas=(answer.get("spec") or {}).get("replicas", 0),
        observed=status.get("replicas", 0),
        selector=status.get("selector"),
    )


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
