"""The object that `scaleTargetRef` names: what size it has, and that no two groups size it in turns."""

import logging
import time

from protoqueue_operator.adapters.kubernetes import ApiError
from protoqueue_operator.core.consumer_group import ConsumerGroupSpec, ScaleTarget
from protoqueue_operator.core.refusals import ScaleTargetTaken
from protoqueue_operator.core.resources import Group, parse_group
from protoqueue_operator.core.targets import Target, comes_before, named_target
from protoqueue_operator.reconcile.runtime import GroupState, Runtime, ScaleSeen

logger = logging.getLogger(__name__)

SCALE_SEEN_FOR_S = 10.0
"""How long an answer of the scale subresource is believed, also a refusal: nobody tells of a change."""


async def look_at_target(group: Group, spec: ConsumerGroupSpec, state: GroupState, runtime: Runtime) -> None:
    """Know its scale, from a moment ago or by asking. Raises nothing."""
    target, seen = spec.worker.scale_target_ref if spec.worker else None, state.scale
    if target is None:
        state.scale = None
    elif seen is None or seen.target != target or time.monotonic() - seen.at > SCALE_SEEN_FOR_S:
        state.scale = await _read(group, target, runtime)


async def _read(group: Group, target: ScaleTarget, runtime: Runtime) -> ScaleSeen:
    at = time.monotonic()
    try:
        answer = await runtime.kubernetes.scale(target.api_version, target.kind, group.meta.namespace, target.name)
    except ApiError as error:
        if error.is_refusal:
            return ScaleSeen(target, at, trouble=f"{target.kind} {target.name} cannot be read: {error}")
        logger.warning("scale not read: object=%s error=%s; it will be tried again", group.meta.key, error)
        return ScaleSeen(target, at)
    status = answer.get("status") or {}
    return ScaleSeen(
        target,
        at,
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
