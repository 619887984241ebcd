"""The object that `scaleTargetRef` names: its size, and which group may size it."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from weakref import WeakValueDictionary

from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec, ScaleTarget
from protoqueue_operator.api.v1alpha1.deployment import Deployment
from protoqueue_operator.api.v1alpha1.errors import ScaleTargetTaken
from protoqueue_operator.api.v1alpha1.managed_fields import last_writer
from protoqueue_operator.api.v1alpha1.objects import Group, parse_group
from protoqueue_operator.autoscaling.state import GroupState, ObservedScale, Size
from protoqueue_operator.autoscaling.target_claims import (
    Target,
    TargetClaims,
    comes_before,
    named_target,
    own_target,
    taken,
)
from protoqueue_operator.runtime.cache import Cache
from protoqueue_operator.runtime.client import ApiError, Kubernetes

logger = logging.getLogger(__name__)


class ScaleTargets:
    """Reads scales from the API server."""

    def __init__(self, kubernetes: Kubernetes, deployments: Cache[Deployment], claims: TargetClaims) -> None:
        self._kubernetes = kubernetes
        self._deployments = deployments
        self._claims = claims
        self._turns: WeakValueDictionary[Target, asyncio.Lock] = WeakValueDictionary()

    def turn(self, group: Group) -> asyncio.Lock:
        """Held while the size of what the group names is read and written: others may share it."""
        target = named_target(group) or own_target(group)
        return self._turns.setdefault(target, asyncio.Lock())

    async def observe(self, group: Group, spec: ConsumerGroupSpec, state: GroupState) -> None:
        """Read the target's scale if that has not been done; from then on the poller does. Raises nothing."""
        target = spec.worker.scale_target_ref if spec.worker else None
        if target is None:
            state.scale = None
        elif state.scale is None or state.scale.target != target:
            state.scale = await self._read(group, target)
            state.available = state.pods_at = state.written = None

    async def ask_again(self, group: Group, before: ObservedScale) -> ObservedScale:
        """Its current scale; without an answer, the last one. Raises nothing."""
        now = await self._read(group, before.target)
        return now if now.is_answer else before

    async def sized_by(self, group: Group, size: Size, state: GroupState) -> str:
        """Who wrote the size last, by field manager, which the scale itself does not show. Raises nothing."""
        key = own_target(group).key
        if size.is_own:
            known = self._deployments.get(key)
            return (known.sized_by if known else None) or "another client"
        target = state.scale.target if state.scale else None
        if target and target.kind == "Deployment" and target.api_version.startswith("apps/"):
            with suppress(ApiError):
                body = await self._kubernetes.get(replace(key, name=target.name))
                return last_writer(body["metadata"], "spec", "replicas") or "another client"
        return "another client"

    async def refuse_taken(self, group: Group, state: GroupState) -> None:
        """Raises ScaleTargetTaken where nothing is known of the other yet, as after a start, and ApiError.

        The status remembers that there was another. A size written until the watch brings that one would end its
        workers.
        """
        target, condition = named_target(group), group.status.condition("Ready")
        if target is None or state.last_applied or condition is None or condition.reason != ScaleTargetTaken.reason:
            return
        if self._claims.taken_by_another(group):  # that is known, and scaling considers it
            return
        async for page in self._kubernetes.pages("ConsumerGroup", group.meta.namespace, ""):
            for other in map(parse_group, page["items"]):
                if other.meta.key != group.meta.key and comes_before(other, group, target):
                    raise taken(target, other)

    async def _read(self, group: Group, target: ScaleTarget) -> ObservedScale:
        try:
            answer = await self._kubernetes.scale(target.api_version, target.kind, group.meta.namespace, target.name)
        except ApiError as error:
            if error.is_refusal:
                return ObservedScale(target, trouble=f"{target.kind} {target.name} cannot be read: {error}")
            logger.warning("scale not read: object=%s error=%s; retrying", group.meta.key, error)
            return ObservedScale(target)
        status = answer.get("status") or {}
        return ObservedScale(
            target,
            replicas=(answer.get("spec") or {}).get("replicas", 0),
            observed=status.get("replicas", 0),
            selector=status.get("selector"),
        )
