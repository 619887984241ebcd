"""Brings a group's workers to the size decided, through the scale subresource."""

import logging
import time
from dataclasses import dataclass, replace

from protoqueue_operator.adapters.kubernetes import ApiError
from protoqueue_operator.core.autoscale import Decision, Load, Policy, decide, resized
from protoqueue_operator.core.conditions import Condition
from protoqueue_operator.core.consumer_group import ConsumerGroupSpec, ScaleTarget
from protoqueue_operator.core.deployment import selector
from protoqueue_operator.core.load import ConsumerState, has_work, load_of
from protoqueue_operator.core.resources import Group, Key
from protoqueue_operator.core.status import scaling
from protoqueue_operator.reconcile.runtime import Established, GroupState, Runtime
from protoqueue_operator.reconcile.sparing import spare_the_busy
from protoqueue_operator.reconcile.targets import look_at_target, taken_by_another

logger = logging.getLogger(__name__)

REFUSED_FOR_S = 10.0
"""How long a size that was refused is not asked for again."""


@dataclass(frozen=True)
class Size:
    """How many workers there are to be, and how many there are."""

    wanted: int
    observed: int
    selector: str | None


class Scaler:
    """The only writer of sizes; one group is looked at by one caller at a time."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def known_size(self, group: Group, state: GroupState) -> Size | None:
        """What is known without asking anybody; None where nothing is to be scaled, or is there yet."""
        worker = state.established.spec.worker if state.established else None
        if worker is None:
            return None
        if worker.scale_target_ref is not None:
            seen = state.scale
            if seen is None or seen.replicas is None or seen.target != worker.scale_target_ref:
                return None
            return Size(seen.replicas, seen.observed, seen.selector)
        deployment = self._runtime.cache.deployments.get(_deployment_key(group))
        if deployment is None or deployment.controller_uid != group.meta.uid:
            return None
        return Size(deployment.replicas, deployment.observed_replicas, selector(group.meta.name))

    async def look_at(self, group: Group, backlog: ConsumerState) -> None:
        """Settle the size of a group that was just brought into being, when its backlog was this.

        That nothing is left is not concluded from one answer where there may be workers: sampling asks more than once.
        """
        state = self._runtime.state_of(group.meta.key, group.meta.uid)
        if not state.established:
            return
        is_new = group.status.condition("Scaling") is None
        if is_new or not state.established.spec.autoscale or has_work(backlog):
            await self.settle(group, load_of(backlog, state.rates, paused=state.established.paused))

    def size_changed(self, group: Group) -> None:
        """The watch has seen workers come or go."""
        state = self._runtime.state_of(group.meta.key, group.meta.uid)
        if size := self.known_size(group, state):
            self._report(group, size, size.wanted, None)

    async def settle(self, group: Group, load: Load | None) -> int | None:
        """Decide and scale; returns the size wanted, None where nothing can be scaled. Raises nothing.

        A `load` of None is an unknown backlog.
        """
        state = self._runtime.state_of(group.meta.key, group.meta.uid)
        established = state.established
        if established is None:
            return None
        if established.spec.worker is None:
            self._say_unscaled(group, "spec.worker is not set: workers run elsewhere")
            return None
        if taken := taken_by_another(group, self._runtime):
            self._say_unscaled(group, str(taken))
            return None
        async with state.lock:
            size = await self._size(group, state)
            if size is None:
                return None
            decision = self._decide(established, load, size, state)
            if decision.replicas != size.wanted and (
                _was_refused(state) or not await self._scale(group, established.spec, size, decision, state)
            ):
                return size.wanted
            state.history = decision.history
        condition = scaling(group.meta.generation, decision.reason, decision.message)
        self._report(group, size, decision.replicas, _untold_first(group, condition, state))
        return decision.replicas

    def _decide(self, established: Established, load: Load | None, size: Size, state: GroupState) -> Decision:
        spec = established.spec
        if spec.autoscale is None:
            return Decision(spec.replicas, "Disabled", "spec.autoscale is not set: spec.replicas holds", state.history)
        decision = decide(Policy.of(spec.autoscale), load, size.wanted, state.history, self._runtime.now())
        # Else it would be said that there is nothing to do while tasks wait.
        return replace(decision, message=f"paused: {decision.message}") if established.paused else decision

    async def _size(self, group: Group, state: GroupState) -> Size | None:
        assert state.established
        await look_at_target(group, state.established.spec, state, self._runtime)
        if state.scale and state.scale.trouble:
            self._complain(group, state.scale.trouble)
        return self.known_size(group, state)

    async def _scale(
        self, group: Group, spec: ConsumerGroupSpec, size: Size, decision: Decision, state: GroupState
    ) -> bool:
        assert spec.worker
        target = spec.worker.scale_target_ref or ScaleTarget(name=group.meta.name)
        # A StatefulSet's last one goes, whatever it does.
        if 0 < decision.replicas < size.observed and size.selector and target.kind != "StatefulSet":
            await spare_the_busy(group, size.selector, size.observed, self._runtime)
        try:
            answer = await self._runtime.kubernetes.set_scale(
                target.api_version, target.kind, group.meta.namespace, target.name, decision.replicas
            )
        except ApiError as error:
            logger.warning("scaling failed: object=%s error=%s; it will be tried again", group.meta.key, error)
            if error.is_refusal:
                state.refused_at = time.monotonic()
                self._complain(group, f"{target.kind} {target.name} cannot be scaled: {error}")
            return False
        self._remember(group, spec, answer["metadata"].get("resourceVersion", ""), decision.replicas, state)
        logger.info(
            "scaled: object=%s from=%d to=%d reason=%s",
            group.meta.key,
            size.wanted,
            decision.replicas,
            decision.message,
        )
        kind = "ScaledUp" if decision.replicas > size.wanted else "ScaledDown"
        message = decision.message if decision.reason == kind else resized(size.wanted, decision.replicas)
        self._runtime.reporter.event(group.meta, "Normal", kind, message)
        return True

    def _remember(self, group: Group, spec: ConsumerGroupSpec, version: str, replicas: int, state: GroupState) -> None:
        """What was written is known at once, not only when the watch says so."""
        if spec.worker and spec.worker.scale_target_ref:
            if state.scale:
                state.scale = replace(state.scale, replicas=replicas)
            return
        key = _deployment_key(group)
        if deployment := self._runtime.cache.deployments.get(key):
            self._runtime.cache.deployments[key] = replace(deployment, replicas=replicas, resource_version=version)

    def _say_unscaled(self, group: Group, why: str) -> None:
        """That this group has no size of its own."""
        nobody = dict.fromkeys(("replicas", "desiredReplicas", "selector"))
        condition = scaling(group.meta.generation, "Disabled", why)
        self._runtime.reporter.report(group, nobody, [condition], urgent=False)

    def _complain(self, group: Group, message: str) -> None:
        self._runtime.reporter.report(group, {}, [scaling(group.meta.generation, "TargetNotFound", message)])

    def _report(self, group: Group, size: Size, wanted: int, condition: Condition | None) -> None:
        """Told at once: a size that somebody has asked for, the first word on scaling, and a change of its status.

        The rest follows from the backlog, sizes too, and goes with the counters.
        """
        fields = {"replicas": size.observed, "desiredReplicas": wanted, "selector": size.selector}
        before = group.status.condition("Scaling")
        asked_for = not _is_autoscaled(group) or group.status.observed_generation != group.meta.generation
        urgent = asked_for or (condition is not None and (before is None or before.status != condition.status))
        self._runtime.reporter.report(group, fields, [condition] if condition else [], urgent=urgent)


def _was_refused(state: GroupState) -> bool:
    """Whether it was a moment ago: to ask again with every sample would be too often."""
    return state.refused_at is not None and time.monotonic() - state.refused_at <= REFUSED_FOR_S


def _untold_first(group: Group, condition: Condition, state: GroupState) -> Condition:
    """What to say: of a change of size before what follows from it, which mostly does before a status is written."""
    if condition.reason in ("ScaledUp", "ScaledDown"):
        state.resized = condition
    elif condition.reason not in ("Stable", "Idle") or (state.resized and _is_told(group, state.resized)):
        state.resized = None
    return state.resized or condition


def _is_told(group: Group, condition: Condition) -> bool:
    """Also what is said of an earlier generation needs no more telling."""
    shown = group.status.condition("Scaling")
    is_shown = bool(shown and (shown.reason, shown.message) == (condition.reason, condition.message))
    return is_shown or condition.observed_generation != group.meta.generation


def _is_autoscaled(group: Group) -> bool:
    return isinstance(group.spec, ConsumerGroupSpec) and group.spec.autoscale is not None


def _deployment_key(group: Group) -> Key:
    return Key("Deployment", group.meta.namespace, group.meta.name)
